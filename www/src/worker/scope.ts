/** A dedicated worker's global scope, as far as the workers here need it. */

/** One end of a message channel to whoever made the worker. */
export interface WorkerScope {
  postMessage(message: unknown, transfer?: Transferable[]): void;
  onmessage: ((event: MessageEvent) => void) | null;
}

/** The browser's scope. The DOM's types describe a window, in which `postMessage` is another one. */
export const browserScope = globalThis as unknown as WorkerScope;
