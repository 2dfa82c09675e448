//! Host traits on browser and node APIs: the only room that names wasm-bindgen, web-sys or js-sys.
