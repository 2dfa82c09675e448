//! A serial port: the 16550A UART.
//!
//! The line is infinitely fast: what is written is sent at once, and the transmitter is always empty.

use super::InterruptLine;
use super::bus::PortDevice;
use super::saved::saved_fields;
use crate::host::ConsoleOutput;
use std::collections::VecDeque;
use std::sync::Arc;

/// First of the eight ports of the first serial port.
pub const SERIAL_PORT: u16 = 0x3f8;
/// Ports that it takes.
pub const SERIAL_PORT_COUNT: u16 = 8;

/// Bytes that wait outside the receiver until the guest has read what is in it.
const INPUT_CAPACITY: usize = 64 * 1024;
/// Bytes in the receiver's FIFO (16550A data sheet).
const FIFO_CAPACITY: usize = 16;

const IER_RECEIVED: u8 = 1 << 0;
const IER_TRANSMITTER_EMPTY: u8 = 1 << 1;
const IER_LINE_STATUS: u8 = 1 << 2;
const IER_MODEM_STATUS: u8 = 1 << 3;

const IIR_NONE: u8 = 0b0001;
const IIR_LINE_STATUS: u8 = 0b0110;
const IIR_RECEIVED: u8 = 0b0100;
const IIR_TIMEOUT: u8 = 0b1100;
const IIR_TRANSMITTER_EMPTY: u8 = 0b0010;
const IIR_MODEM_STATUS: u8 = 0b0000;
const IIR_FIFOS_ENABLED: u8 = 0b1100_0000;

const FCR_ENABLE: u8 = 1 << 0;
const FCR_CLEAR_RECEIVER: u8 = 1 << 1;

const LCR_DIVISOR_LATCH: u8 = 1 << 7;

const MCR_DTR: u8 = 1 << 0;
const MCR_RTS: u8 = 1 << 1;
const MCR_OUT1: u8 = 1 << 2;
const MCR_OUT2: u8 = 1 << 3;
const MCR_LOOPBACK: u8 = 1 << 4;

const LSR_DATA_READY: u8 = 1 << 0;
const LSR_OVERRUN: u8 = 1 << 1;
const LSR_TRANSMITTER_EMPTY: u8 = 0b0110_0000;

const MSR_CTS: u8 = 1 << 4;
const MSR_DSR: u8 = 1 << 5;
const MSR_RI: u8 = 1 << 6;
const MSR_DCD: u8 = 1 << 7;

/// A 16550A.
pub struct SerialPort {
    line: Arc<dyn InterruptLine>,
    output: Box<dyn ConsoleOutput>,
    /// Input that has not reached the receiver yet.
    input: VecDeque<u8>,
    received: VecDeque<u8>,
    interrupt_enable: u8,
    fifo_control: u8,
    line_control: u8,
    modem_control: u8,
    modem_status: u8,
    scratch: u8,
    divisor: u16,
    has_overrun: bool,
    is_transmitter_interrupt_pending: bool,
}

impl SerialPort {
    /// A port with a terminal that is always ready at its other end.
    pub fn new(line: Arc<dyn InterruptLine>, output: Box<dyn ConsoleOutput>) -> Self {
        Self {
            line,
            output,
            input: VecDeque::new(),
            received: VecDeque::new(),
            interrupt_enable: 0,
            fifo_control: 0,
            line_control: 0,
            modem_control: 0,
            modem_status: MSR_CTS | MSR_DSR | MSR_DCD,
            scratch: 0,
            divisor: 12,
            has_overrun: false,
            is_transmitter_interrupt_pending: false,
        }
    }

    /// Prints `bytes`, in place of the guest.
    pub fn print(&mut self, bytes: &[u8]) {
        self.output.write(bytes);
    }

    /// Types `bytes`. Returns how many were taken; the rest should be offered again later.
    pub fn push_input(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(INPUT_CAPACITY - self.input.len().min(INPUT_CAPACITY));
        self.input.extend(bytes.iter().take(taken));
        self.refill_receiver();
        self.update_line();
        taken
    }

    fn has_fifos(&self) -> bool {
        self.fifo_control & FCR_ENABLE != 0
    }

    fn capacity(&self) -> usize {
        if self.has_fifos() { FIFO_CAPACITY } else { 1 }
    }

    /// Bytes in the receiver at which it interrupts.
    fn trigger_level(&self) -> usize {
        match (self.has_fifos(), self.fifo_control >> 6) {
            (false, _) | (true, 0) => 1,
            (true, 1) => 4,
            (true, 2) => 8,
            (true, _) => 14,
        }
    }

    fn is_looped_back(&self) -> bool {
        self.modem_control & MCR_LOOPBACK != 0
    }

    fn refill_receiver(&mut self) {
        while !self.is_looped_back() && self.received.len() < self.capacity() {
            let Some(byte) = self.input.pop_front() else { break };
            self.received.push_back(byte);
        }
    }

    /// The highest-ranking reason to interrupt.
    fn interrupt_identification(&self) -> u8 {
        let is_enabled = |bit| self.interrupt_enable & bit != 0;
        if is_enabled(IER_LINE_STATUS) && self.has_overrun {
            IIR_LINE_STATUS
        } else if is_enabled(IER_RECEIVED) && self.received.len() >= self.trigger_level() {
            IIR_RECEIVED
        } else if is_enabled(IER_RECEIVED) && !self.received.is_empty() {
            // Nothing more is on the wire, so that the character timeout has passed already.
            IIR_TIMEOUT
        } else if is_enabled(IER_TRANSMITTER_EMPTY) && self.is_transmitter_interrupt_pending {
            IIR_TRANSMITTER_EMPTY
        } else if is_enabled(IER_MODEM_STATUS) && self.modem_status & 0x0f != 0 {
            IIR_MODEM_STATUS
        } else {
            IIR_NONE
        }
    }

    fn update_line(&mut self) {
        // On a PC, OUT2 gates the interrupt; in loopback it is disconnected.
        let is_gated_through = self.modem_control & (MCR_OUT2 | MCR_LOOPBACK) == MCR_OUT2;
        self.line.set_level(is_gated_through && self.interrupt_identification() != IIR_NONE);
    }

    fn transmit(&mut self, byte: u8) {
        if self.is_looped_back() {
            if self.received.len() < self.capacity() {
                self.received.push_back(byte);
            } else {
                self.has_overrun = true;
            }
        } else {
            self.output.write(&[byte]);
        }
        self.is_transmitter_interrupt_pending = true;
    }

    fn receive(&mut self) -> u8 {
        let byte = self.received.pop_front().unwrap_or(0);
        self.refill_receiver();
        byte
    }

    fn set_modem_control(&mut self, value: u8) {
        self.modem_control = value & 0x1f;
        let lines = if self.is_looped_back() {
            let wired = [(MCR_RTS, MSR_CTS), (MCR_DTR, MSR_DSR), (MCR_OUT1, MSR_RI), (MCR_OUT2, MSR_DCD)];
            wired.iter().filter(|(from, _)| value & from != 0).fold(0, |lines, (_, to)| lines | to)
        } else {
            MSR_CTS | MSR_DSR | MSR_DCD
        };
        let changed = (self.modem_status ^ lines) & 0xf0;
        // The ring indicator's delta bit is set only by its trailing edge.
        let is_ring_end = changed & MSR_RI != 0 && lines & MSR_RI == 0;
        let deltas = (changed >> 4) & !0b100 | u8::from(is_ring_end) << 2;
        self.modem_status = lines | self.modem_status & 0x0f | deltas;
        self.refill_receiver();
    }

    fn set_fifo_control(&mut self, value: u8) {
        let is_toggled = (value ^ self.fifo_control) & FCR_ENABLE != 0;
        if is_toggled || value & FCR_CLEAR_RECEIVER != 0 {
            self.received.clear();
        }
        // The other bits hold only while the FIFOs are enabled.
        self.fifo_control = if value & FCR_ENABLE != 0 { value & 0xc9 } else { 0 };
        self.refill_receiver();
    }

    fn line_status(&mut self) -> u8 {
        let overrun = if std::mem::take(&mut self.has_overrun) { LSR_OVERRUN } else { 0 };
        let ready = if self.received.is_empty() { 0 } else { LSR_DATA_READY };
        LSR_TRANSMITTER_EMPTY | overrun | ready
    }
}

saved_fields! {
    /// What a snapshot keeps of the port.
    SerialState of SerialPort {
        input: VecDeque<u8>,
        received: VecDeque<u8>,
        interrupt_enable: u8,
        fifo_control: u8,
        line_control: u8,
        modem_control: u8,
        modem_status: u8,
        scratch: u8,
        divisor: u16,
        has_overrun: bool,
        is_transmitter_interrupt_pending: bool,
    }
}

impl SerialPort {
    fn put_right(&mut self) {
        self.input.truncate(INPUT_CAPACITY);
        self.received.truncate(FIFO_CAPACITY);
    }
}

impl PortDevice for SerialPort {
    fn read_port(&mut self, port: u16) -> u8 {
        let selects_divisor = self.line_control & LCR_DIVISOR_LATCH != 0;
        let value = match port & 7 {
            0 if selects_divisor => self.divisor as u8,
            1 if selects_divisor => (self.divisor >> 8) as u8,
            0 => self.receive(),
            1 => self.interrupt_enable,
            2 => {
                let identification = self.interrupt_identification();
                if identification == IIR_TRANSMITTER_EMPTY {
                    self.is_transmitter_interrupt_pending = false;
                }
                identification | if self.has_fifos() { IIR_FIFOS_ENABLED } else { 0 }
            }
            3 => self.line_control,
            4 => self.modem_control,
            5 => self.line_status(),
            6 => {
                let status = self.modem_status;
                self.modem_status &= 0xf0;
                status
            }
            _ => self.scratch,
        };
        self.update_line();
        value
    }

    fn write_port(&mut self, port: u16, value: u8) {
        let selects_divisor = self.line_control & LCR_DIVISOR_LATCH != 0;
        match port & 7 {
            0 if selects_divisor => self.divisor = self.divisor & 0xff00 | u16::from(value),
            1 if selects_divisor => self.divisor = self.divisor & 0x00ff | u16::from(value) << 8,
            0 => self.transmit(value),
            1 => {
                // Enabling the transmitter interrupt with an empty transmitter raises it (data sheet; Linux
                // starts its transmissions so).
                if value & !self.interrupt_enable & IER_TRANSMITTER_EMPTY != 0 {
                    self.is_transmitter_interrupt_pending = true;
                }
                self.interrupt_enable = value & 0x0f;
            }
            2 => self.set_fifo_control(value),
            3 => self.line_control = value,
            4 => self.set_modem_control(value),
            7 => self.scratch = value,
            _ => {}
        }
        self.update_line();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[derive(Default)]
    struct Line(AtomicBool);

    impl InterruptLine for Line {
        fn set_level(&self, is_high: bool) {
            self.0.store(is_high, Ordering::SeqCst);
        }
    }

    #[derive(Clone, Default)]
    struct Screen(Arc<Mutex<Vec<u8>>>);

    impl ConsoleOutput for Screen {
        fn write(&mut self, bytes: &[u8]) {
            self.0.lock().unwrap().extend_from_slice(bytes);
        }
    }

    fn port() -> (SerialPort, Arc<Line>, Screen) {
        let (line, screen) = (Arc::new(Line::default()), Screen::default());
        let mut port = SerialPort::new(line.clone(), Box::new(screen.clone()));
        port.write_port(0x3fc, MCR_OUT2 | MCR_RTS | MCR_DTR);
        (port, line, screen)
    }

    #[test]
    fn what_is_written_is_sent_and_the_transmitter_interrupts() {
        let (mut port, line, screen) = port();
        port.write_port(0x3f9, IER_TRANSMITTER_EMPTY);
        assert!(line.0.load(Ordering::SeqCst), "enabling it raises it");
        assert_eq!(port.read_port(0x3fa), IIR_TRANSMITTER_EMPTY);
        assert!(!line.0.load(Ordering::SeqCst), "reading it clears it");
        for byte in b"hi" {
            port.write_port(0x3f8, *byte);
        }
        assert_eq!(*screen.0.lock().unwrap(), b"hi");
        assert!(line.0.load(Ordering::SeqCst));
        assert_eq!(port.read_port(0x3fd), 0x60);
    }

    #[test]
    fn input_waits_outside_until_the_receiver_has_room() {
        let (mut port, line, _) = port();
        port.write_port(0x3fa, 0x81);
        port.write_port(0x3f9, IER_RECEIVED);
        let text: Vec<u8> = (0..40).collect();
        assert_eq!(port.push_input(&text), 40);
        assert_eq!(port.read_port(0x3fa), IIR_RECEIVED | IIR_FIFOS_ENABLED);
        let mut read = Vec::new();
        while port.read_port(0x3fd) & LSR_DATA_READY != 0 {
            if read.len() == 36 {
                assert_eq!(port.read_port(0x3fa), IIR_TIMEOUT | IIR_FIFOS_ENABLED, "below the trigger");
            }
            read.push(port.read_port(0x3f8));
        }
        assert_eq!(read, text);
        assert!(!line.0.load(Ordering::SeqCst));
    }

    #[test]
    fn a_full_input_queue_refuses_more() {
        let (mut port, ..) = port();
        assert!(port.push_input(&vec![0; INPUT_CAPACITY + 100]) <= INPUT_CAPACITY);
        let more = port.push_input(&[0; 100]);
        assert!(more < 100, "{more}");
    }

    #[test]
    fn loopback_connects_the_port_to_itself() {
        let (mut port, line, screen) = port();
        port.write_port(0x3fc, MCR_LOOPBACK | MCR_RTS | MCR_OUT2);
        assert_eq!(port.read_port(0x3fe) & 0xf0, MSR_CTS | MSR_DCD);
        port.write_port(0x3fc, MCR_LOOPBACK | 0x0a);
        port.write_port(0x3f8, 0x5a);
        assert_eq!(port.read_port(0x3f8), 0x5a);
        assert!(screen.0.lock().unwrap().is_empty());
        port.write_port(0x3f9, 0x0f);
        assert!(!line.0.load(Ordering::SeqCst));
    }

    #[test]
    fn an_overrun_is_reported_once() {
        let (mut port, ..) = port();
        port.write_port(0x3fc, MCR_LOOPBACK);
        port.write_port(0x3f8, 1);
        port.write_port(0x3f8, 2);
        assert_eq!(port.read_port(0x3fd), 0x63);
        assert_eq!(port.read_port(0x3fd), 0x61);
    }

    #[test]
    fn probing_sees_a_16550a() {
        let (mut port, ..) = port();
        port.write_port(0x3fa, FCR_ENABLE);
        assert_eq!(port.read_port(0x3fa) >> 6, 3);
        port.write_port(0x3ff, 0xa5);
        assert_eq!(port.read_port(0x3ff), 0xa5);
        port.write_port(0x3fb, 0x83);
        port.write_port(0x3f8, 1);
        port.write_port(0x3f9, 0);
        assert_eq!((port.read_port(0x3f8), port.read_port(0x3f9)), (1, 0));
        port.write_port(0x3fb, 0x03);
        assert_eq!(port.read_port(0x3f9), 0);
        port.write_port(0x3f9, 0xff);
        assert_eq!(port.read_port(0x3f9), 0x0f, "no sleep mode, no 64-byte FIFO");
    }
}
