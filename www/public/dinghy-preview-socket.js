/**
 * Runs first in each page of a preview: WebSockets to the preview's own origin go to the guest, by way of the frame around the
 * page (dinghy-preview.js). Others are the browser's.
 */

(() => {
  const BrowserSocket = window.WebSocket;
  const frame = findFrame();
  if (!frame) return;

  /** The window of dinghy-preview.html, some way above this page. */
  function findFrame() {
    for (let above = window.parent, last = window; above !== last; last = above, above = above.parent) {
      try {
        if (above.location.pathname === "/dinghy-preview.html") return above;
      } catch {
        return undefined;
      }
    }
    return undefined;
  }

  const STATES = { CONNECTING: 0, OPEN: 1, CLOSING: 2, CLOSED: 3 };

  class GuestSocket extends EventTarget {
    binaryType = "blob";
    bufferedAmount = 0;
    extensions = "";
    protocol = "";
    readyState = STATES.CONNECTING;
    onopen = null;
    onmessage = null;
    onerror = null;
    onclose = null;
    #channel;

    constructor(url, protocols) {
      super();
      this.url = url.href;
      const { port1, port2 } = new MessageChannel();
      this.#channel = port1;
      port1.onmessage = ({ data }) => this.#receive(data);
      const message = { type: "dinghy-socket", path: url.pathname + url.search, protocols };
      frame.postMessage(message, location.origin, [port2]);
    }

    send(data) {
      if (this.readyState === STATES.CONNECTING) throw new DOMException("Still connecting.", "InvalidStateError");
      if (this.readyState !== STATES.OPEN) return;
      if (data instanceof Blob) {
        void data.arrayBuffer().then((bytes) => this.#post({ type: "message", data: bytes }));
      } else if (data instanceof ArrayBuffer) {
        this.#post({ type: "message", data });
      } else if (ArrayBuffer.isView(data)) {
        this.#post({ type: "message", data: data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength) });
      } else {
        this.#post({ type: "message", data: String(data) });
      }
    }

    close(code, reason) {
      if (code !== undefined && code !== 1000 && !(code >= 3000 && code <= 4999)) {
        throw new DOMException("The code must be 1000, or 3000 to 4999.", "InvalidAccessError");
      }
      if (this.readyState >= STATES.CLOSING) return;
      this.readyState = STATES.CLOSING;
      this.#post({ type: "close", code, reason });
    }

    #post(message) {
      this.#channel.postMessage(message);
    }

    #receive(message) {
      switch (message.type) {
        case "open":
          if (this.readyState !== STATES.CONNECTING) break;
          this.readyState = STATES.OPEN;
          this.protocol = message.protocol;
          this.#tell(new Event("open"));
          break;
        case "message": {
          if (this.readyState !== STATES.OPEN) break;
          const { data } = message;
          const shown = data instanceof ArrayBuffer && this.binaryType === "blob" ? new Blob([data]) : data;
          this.#tell(new MessageEvent("message", { data: shown, origin: new URL(this.url).origin }));
          break;
        }
        case "close": {
          const { code, reason, wasClean } = message;
          this.readyState = STATES.CLOSED;
          if (!wasClean) this.#tell(new Event("error"));
          this.#tell(new CloseEvent("close", { code, reason, wasClean }));
          this.#channel.close();
          break;
        }
      }
    }

    #tell(event) {
      this[`on${event.type}`]?.(event);
      this.dispatchEvent(event);
    }
  }

  /** Makes the one or the other, by the address. */
  function WebSocket(address, protocols = []) {
    const url = new URL(address, location.href);
    url.protocol = url.protocol.replace(/^http/, "ws");
    if (url.host !== location.host) return new BrowserSocket(address, protocols);
    return new GuestSocket(url, typeof protocols === "string" ? [protocols] : [...protocols]);
  }
  Object.assign(WebSocket, STATES);
  Object.assign(GuestSocket.prototype, STATES);
  // Of both kinds: `instanceof` asks this.
  Object.defineProperty(WebSocket, Symbol.hasInstance, {
    value: (socket) => socket instanceof GuestSocket || socket instanceof BrowserSocket,
  });
  window.WebSocket = WebSocket;
})();
