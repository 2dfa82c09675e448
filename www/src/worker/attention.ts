/** The word in shared memory on which a vCPU worker sleeps. */

/** Views are made anew each time: a grown memory has a new buffer. */
function word(memory: WebAssembly.Memory): Int32Array {
  return new Int32Array(memory.buffer);
}

/** Sleeps until something arrives for the machine, or `milliseconds` have passed. */
export function waitForAttention(memory: WebAssembly.Memory, address: number, milliseconds: number): void {
  Atomics.wait(word(memory), address / 4, 0, milliseconds);
}

/** Wakes the vCPU worker after something was given to a port. */
export function callAttention(memory: WebAssembly.Memory, address: number): void {
  Atomics.notify(word(memory), address / 4);
}
