//! The gateway between a TCP/IP client at the guest's end of the cable and an outside that does what it is
//! told.

mod card;
mod frames;
mod guest;
mod handover;
mod ipv6;
mod outside;
mod peers;
mod tcp;
mod udp;

use guest::Guest;
use outside::Outside;
