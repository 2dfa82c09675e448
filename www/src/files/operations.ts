/** The operations that the emulator has done by who serves a shared directory, as src/storage/tree/provided writes them. */

import type { FileEntry, FileStatus, NewFile, StatusChange } from "./provider.js";

/** What is to be done. Handles are numbers that the emulator chooses. */
export type Operation =
  | { kind: "stat"; path: string | null; handle: number | null }
  | { kind: "list"; path: string }
  | { kind: "open"; path: string; handle: number; read: boolean; write: boolean; truncate: boolean }
  | { kind: "create"; path: string; handle: number; read: boolean; new: NewFile }
  | { kind: "close"; handle: number }
  | { kind: "read"; handle: number; offset: number; length: number }
  | { kind: "write"; handle: number; offset: number; length: number }
  | { kind: "sync"; handle: number }
  | { kind: "change"; path: string | null; handle: number | null; change: StatusChange }
  | { kind: "makeDirectory"; path: string; new: NewFile }
  | { kind: "makeLink"; path: string; target: string; new: NewFile }
  | { kind: "readLink"; path: string }
  | { kind: "link"; path: string; to: string }
  | { kind: "rename"; path: string; to: string }
  | { kind: "remove"; path: string }
  | { kind: "removeDirectory"; path: string }
  | { kind: "room"; path: string };

/** An operation on its way to who does it. */
export interface OperationMessage {
  type: "operation";
  /** The share's place among the machine's. */
  share: number;
  /** By which it is answered; 0 if it is not. */
  id: number;
  /** An {@link Operation} as JSON. */
  operation: string;
  /** Of a write. */
  data: Uint8Array | undefined;
}

/** Its answer. */
export interface AnswerMessage {
  type: "answer";
  share: number;
  id: number;
  /** Linux's number of the error, 0 if there is none. */
  errno: number;
  /** What was asked for, but data. */
  json: string;
  data: Uint8Array;
}

/** What an operation brings. */
export interface Outcome {
  json: string;
  data: Uint8Array;
}

const NO_DATA = new Uint8Array();

/** That it is done. */
export const DONE: Outcome = { json: "null", data: NO_DATA };

// JSON has no numbers of 64 bits.
const decimal = (_key: string, value: unknown): unknown => (typeof value === "bigint" ? value.toString() : value);

/** Something else than data. */
export const told = (value: FileStatus | FileEntry[] | string | { bytes: number; free: number }): Outcome => ({
  json: JSON.stringify(value, decimal),
  data: NO_DATA,
});

/** Data. */
export const read = (data: Uint8Array): Outcome => ({ json: "null", data });
