//! The machine as other workers on the same memory reach it.

use super::{net, share};
use crate::machine::{MachineHandle, RestOfMemory};
use crate::net::QueryId;
use crate::net::handover::FlowCarrier;
use crate::storage::ChunkInbox;
use crate::storage::tree::provided::AnswerInbox;
use std::net::Ipv4Addr;
use wasm_bindgen::prelude::*;

/// What a port needs of a machine; lives in the shared memory and may be used by any worker on it.
pub struct PortState {
    /// The way into the machine.
    pub handle: MachineHandle,
    /// The inboxes of the chunked disks, by the disks' places.
    pub inboxes: Vec<Option<ChunkInbox>>,
    /// The carrier's side of the network, if there is one.
    pub carrier: Option<FlowCarrier>,
    /// The inboxes of the provided shares, by the shares' places.
    pub shares: Vec<Option<AnswerInbox>>,
    /// What of its memory was still to come when the port was made, if anything.
    pub rest: Option<RestOfMemory>,
}

/// `EnginePort` of the package's `engine.ts`.
///
/// Nothing here gives JavaScript values out or keeps them, errors included: the table that holds them is each
/// instance's own, while the list of its free places lies in the memory that all of them share.
#[wasm_bindgen(js_name = MachinePort)]
pub struct WebPort(Box<PortState>);

impl PortState {
    /// Gives the state out as a number, for [`WebPort::new`] in this worker or in another.
    pub fn into_handle(self) -> u32 {
        Box::into_raw(Box::new(self)) as usize as u32
    }
}

#[wasm_bindgen(js_class = MachinePort)]
impl WebPort {
    /// Takes a handle from a machine's `portHandle`, each of them once.
    #[wasm_bindgen(constructor)]
    pub fn new(handle: u32) -> Self {
        // SAFETY: the handle is a box that `into_handle` leaked in this memory; the package's own workers are
        // the only callers, and make one port of each.
        Self(unsafe { Box::from_raw(handle as usize as *mut PortState) })
    }

    /// Bytes typed at the virtio console.
    #[wasm_bindgen(js_name = consoleInput)]
    pub fn console_input(&self, bytes: &[u8]) {
        self.0.handle.console_input(bytes);
    }

    /// Bytes typed at the serial port.
    #[wasm_bindgen(js_name = serialInput)]
    pub fn serial_input(&self, bytes: &[u8]) {
        self.0.handle.serial_input(bytes);
    }

    /// The terminal's new size.
    pub fn resize(&self, columns: u16, rows: u16) {
        self.0.handle.resize(columns, rows);
    }

    /// A short press of the power button.
    #[wasm_bindgen(js_name = pressPowerButton)]
    pub fn press_power_button(&self) {
        self.0.handle.press_power_button();
    }

    /// Asks for the machine to be saved: `run` says `save`.
    #[wasm_bindgen(js_name = requestSave)]
    pub fn request_save(&self) {
        self.0.handle.request_save();
    }

    /// Asks for the machine to be kept: `run` says `keep`.
    #[wasm_bindgen(js_name = requestKeep)]
    pub fn request_keep(&self) {
        self.0.handle.request_keep();
    }

    /// The names of the packs that disk `disk` is stored in, a line each; `undefined` for a raw image.
    #[wasm_bindgen(js_name = chunkPacks)]
    pub fn chunk_packs(&self, disk: usize) -> Option<String> {
        self.inbox(disk)?.manifest().map(|manifest| manifest.packs().join("\n"))
    }

    /// Where chunk `index` of disk `disk` is stored: pack, first byte, bytes. `undefined` where the disk is
    /// a raw image, or the chunk zeroes.
    #[wasm_bindgen(js_name = chunkLocation)]
    pub fn chunk_location(&self, disk: usize, index: f64) -> Option<Vec<f64>> {
        let chunk = self.inbox(disk)?.manifest()?.location(index as u64)?;
        Some(vec![f64::from(chunk.pack), chunk.offset as f64, f64::from(chunk.length)])
    }

    /// The digest of the stored bytes of chunk `index` of disk `disk`, in hexadecimal.
    #[wasm_bindgen(js_name = chunkDigest)]
    pub fn chunk_digest(&self, disk: usize, index: f64) -> Option<String> {
        Some(self.inbox(disk)?.manifest()?.location(index as u64)?.digest.to_string())
    }

    /// The chunks of disk `disk` that a boot reads, in the order in which it reads them first.
    #[wasm_bindgen(js_name = chunksToPrefetch)]
    pub fn chunks_to_prefetch(&self, disk: usize) -> Vec<f64> {
        let manifest = self.inbox(disk).and_then(ChunkInbox::manifest);
        let prefetch = manifest.map(|manifest| manifest.prefetch()).unwrap_or_default();
        prefetch.iter().map(|index| *index as f64).collect()
    }

    /// Chunk `index` of disk `disk` has arrived, as it is stored. Says what is wrong with it; nothing has
    /// happened then.
    #[wasm_bindgen(js_name = completeChunk)]
    pub fn complete_chunk(&self, disk: usize, index: f64, bytes: &[u8]) -> Option<String> {
        let Some(inbox) = self.inbox(disk) else { return Some(no_such_disk(disk)) };
        if let Err(error) = inbox.complete(index as u64, bytes.to_vec()) {
            return Some(error.to_string());
        }
        self.0.handle.storage_progressed();
        None
    }

    /// Chunk `index` of disk `disk` cannot be had. Says what is wrong with that.
    #[wasm_bindgen(js_name = failChunk)]
    pub fn fail_chunk(&self, disk: usize, index: f64, reason: String) -> Option<String> {
        let Some(inbox) = self.inbox(disk) else { return Some(no_such_disk(disk)) };
        inbox.fail(index as u64, reason);
        self.0.handle.storage_progressed();
        None
    }

    /// How many parts of the memory were to come when the machine was restored.
    #[wasm_bindgen(js_name = memoryParts)]
    pub fn memory_parts(&self) -> usize {
        self.0.rest.as_ref().map_or(0, RestOfMemory::count)
    }

    /// The name of the file of a part of the memory, if that has not come yet.
    #[wasm_bindgen(js_name = absentMemoryFile)]
    pub fn absent_memory_file(&self, part: usize) -> Option<String> {
        self.0.rest.as_ref()?.absent_name(part)
    }

    /// The file of a part of the memory has arrived. Says what is wrong with it; nothing has happened then.
    #[wasm_bindgen(js_name = provideMemory)]
    pub fn provide_memory(&self, part: usize, bytes: &[u8]) -> Option<String> {
        self.0.rest.as_ref()?.provide(part, bytes).err().map(|error| error.to_string())
    }

    /// Operation `id` of share `share` is done, or has failed with Linux's error number `errno`; `json` and `data`
    /// are what it tells.
    #[wasm_bindgen(js_name = completeOperation)]
    pub fn complete_operation(&self, share: usize, id: f64, errno: i32, json: String, data: Vec<u8>) {
        if let Some(Some(inbox)) = self.0.shares.get(share) {
            inbox.complete(id as u64, share::answer(errno, json, data));
            self.0.handle.storage_progressed();
        }
    }

    /// What the network is to do, as [`net::encode`] writes it.
    #[wasm_bindgen(js_name = takeNetworkCommands)]
    pub fn take_network_commands(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if let Some(carrier) = &self.0.carrier {
            carrier.take_commands().iter().for_each(|command| net::encode(command, &mut bytes));
        }
        bytes
    }

    /// A flow is open.
    #[wasm_bindgen(js_name = flowOpened)]
    pub fn flow_opened(&self, flow: f64) {
        self.progress((), |carrier| carrier.opened(net::flow(flow)));
    }

    /// A flow cannot be opened, or has ended badly.
    #[wasm_bindgen(js_name = flowFailed)]
    pub fn flow_failed(&self, flow: f64, reason: &str) {
        self.progress((), |carrier| carrier.failed(net::flow(flow), net::failure(reason)));
    }

    /// Bytes of a stream, or a datagram, for the guest; whether there is room for more.
    #[wasm_bindgen(js_name = flowData)]
    pub fn flow_data(&self, flow: f64, bytes: Vec<u8>) -> bool {
        self.progress(true, |carrier| carrier.deliver(net::flow(flow), bytes))
    }

    /// The stream for the guest has ended.
    #[wasm_bindgen(js_name = flowEnded)]
    pub fn flow_ended(&self, flow: f64) {
        self.progress((), |carrier| carrier.ended(net::flow(flow)));
    }

    /// So many bytes of the guest's have left.
    #[wasm_bindgen(js_name = flowSent)]
    pub fn flow_sent(&self, flow: f64, count: usize) {
        self.progress((), |carrier| carrier.sent(net::flow(flow), count));
    }

    /// Connects to a port of the guest; the flow's number, or nothing without a network.
    #[wasm_bindgen(js_name = connectGuest)]
    pub fn connect_guest(&self, port: u16) -> Option<f64> {
        self.progress(None, |carrier| Some(net::number(carrier.connect(port))))
    }

    /// The machine's address among its peers, as its four bytes, the first one highest; nothing takes it from them.
    #[wasm_bindgen(js_name = joinPeers)]
    pub fn join_peers(&self, address: Option<u32>) {
        self.progress((), |carrier| carrier.join_peers(address.map(Ipv4Addr::from_bits)));
    }

    /// A packet of a peer.
    #[wasm_bindgen(js_name = peerPacket)]
    pub fn peer_packet(&self, packet: Vec<u8>) {
        self.progress((), |carrier| carrier.deliver_packet(packet));
    }

    /// The answer to a question to a name server, or nothing if there is none.
    #[wasm_bindgen(js_name = answerName)]
    pub fn answer_name(&self, question: f64, answer: Option<Vec<u8>>) {
        self.progress((), |carrier| carrier.answer(QueryId(question as u64), answer));
    }
}

impl WebPort {
    /// Does something to the network and lets the machine look at it; `without` one, there is nothing to do.
    fn progress<T>(&self, without: T, change: impl FnOnce(&FlowCarrier) -> T) -> T {
        let Some(carrier) = &self.0.carrier else { return without };
        let outcome = change(carrier);
        self.0.handle.network_progressed();
        outcome
    }

    fn inbox(&self, disk: usize) -> Option<&ChunkInbox> {
        self.0.inboxes.get(disk)?.as_ref()
    }
}

fn no_such_disk(disk: usize) -> String {
    format!("disk {disk} is not fetched in chunks")
}
