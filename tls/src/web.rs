//! The module's face for JavaScript (`www/src/network/tls.ts`).

use wasm_bindgen::JsError;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::{Authority, Client, Session};

/// An [`Authority`].
#[wasm_bindgen(js_name = Authority)]
pub struct WebAuthority(Authority);

#[wasm_bindgen(js_class = Authority)]
impl WebAuthority {
    /// Makes an authority with a fresh key.
    #[wasm_bindgen(constructor)]
    pub fn new() -> Result<Self, JsError> {
        Ok(Self(Authority::new()?))
    }

    /// Its certificate in PEM.
    pub fn certificate(&self) -> String {
        self.0.certificate()
    }

    /// The server's end of a connection to an address.
    pub fn accept(&self, address: &str) -> Result<WebSession, JsError> {
        Ok(WebSession(self.0.accept(address.parse()?)?))
    }
}

/// A [`Client`].
#[wasm_bindgen(js_name = Client)]
pub struct WebClient(Client);

#[wasm_bindgen(js_class = Client)]
impl WebClient {
    /// A client that trusts Mozilla's roots and those in `more`, certificates in PEM.
    #[wasm_bindgen(constructor)]
    pub fn new(more: &str) -> Result<Self, JsError> {
        Ok(Self(Client::new(more)?))
    }

    /// The client's end of a connection to a server.
    pub fn connect(&self, host: &str) -> Result<WebSession, JsError> {
        Ok(WebSession(self.0.connect(host)?))
    }
}

/// A [`Session`].
#[wasm_bindgen(js_name = Session)]
pub struct WebSession(Session);

#[wasm_bindgen(js_class = Session)]
impl WebSession {
    /// Takes bytes from the other end and returns what they say, in plain.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<Vec<u8>, JsError> {
        Ok(self.0.receive(bytes)?)
    }

    /// Sends bytes to the other end.
    pub fn send(&mut self, plain: &[u8]) -> Result<(), JsError> {
        Ok(self.0.send(plain)?)
    }

    /// Ends the stream to the other end.
    pub fn finish(&mut self) {
        self.0.finish();
    }

    /// The bytes for the other end.
    pub fn wire(&mut self) -> Result<Vec<u8>, JsError> {
        Ok(self.0.wire()?)
    }

    /// Whether the two ends still agree on keys.
    #[wasm_bindgen(js_name = isShakingHands)]
    pub fn is_shaking_hands(&self) -> bool {
        self.0.is_shaking_hands()
    }

    /// Whether the other end has ended its stream.
    #[wasm_bindgen(js_name = hasEnded)]
    pub fn has_ended(&self) -> bool {
        self.0.has_ended()
    }

    /// The name that the client asked for.
    #[wasm_bindgen(js_name = serverName)]
    pub fn server_name(&self) -> Option<String> {
        self.0.server_name()
    }
}
