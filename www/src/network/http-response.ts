/** Reads HTTP/1.1 responses from a stream of bytes. */

import { type Framing, hasWord, MessageReader } from "./http-message.js";

/** The head of a response. */
export interface ResponseHead {
  status: number;
  statusText: string;
  headers: Headers;
  framing: Framing;
  /** Whether the connection can carry another request afterwards. */
  isKept: boolean;
}

/** One response after the other. */
export class ResponseReader extends MessageReader {
  /** @param mayUpgrade whether the request has asked for another protocol */
  constructor(
    stream: ReadableStream<Uint8Array>,
    private readonly mayUpgrade = false,
  ) {
    super(stream, "server");
  }

  /** The head of the response to a request with this method. Interim responses are skipped.
   * @throws DinghyError if what comes is no response */
  async head(method: string): Promise<ResponseHead> {
    for (;;) {
      const lines = await this.headLines();
      if (!lines) throw this.malformed("no whole answer");
      const head = this.#parse(lines, method);
      if (head.status >= 200) return head;
      if (head.status === 101 && this.mayUpgrade) return head;
      if (head.status === 101) throw this.malformed("a change of protocol that was not asked for");
    }
  }

  #parse([first = "", ...fields]: string[], method: string): ResponseHead {
    const status = /^HTTP\/1\.([01]) ([1-5]\d\d)(?: (.*))?$/.exec(first);
    if (!status) throw this.malformed("what is no HTTP answer");
    const headers = this.headers(fields);
    const code = Number(status[2]);
    const hasNoBody = method === "HEAD" || code === 204 || code === 304 || code < 200;
    const framing = hasNoBody ? ({ kind: "length", left: 0 } as const) : this.framing(headers, { kind: "until-end" });
    for (const name of ["keep-alive", "transfer-encoding", "trailer", "upgrade"]) headers.delete(name);
    const isKept =
      status[1] === "1" ? !hasWord(headers, "connection", "close") : hasWord(headers, "connection", "keep-alive");
    headers.delete("connection");
    return {
      status: code,
      statusText: status[3] ?? "",
      headers,
      framing,
      isKept: isKept && framing.kind !== "until-end",
    };
  }
}
