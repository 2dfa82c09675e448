/** Has the operations on a shared directory done by its provider. */

import { reason } from "../worker/download.js";
import {
  type AnswerMessage,
  DONE,
  type Operation,
  type OperationMessage,
  type Outcome,
  read,
  told,
} from "./operations.js";
import { ERROR_NUMBERS, errorNumber, FileError, type FileProvider, type OpenFile } from "./provider.js";

/** After this time an operation has failed; a provider may wait for the user. */
const PATIENCE_MS = 60_000;

/** Most characters of an answer, so that no provider fills the machine's memory. */
const ANSWER_CHARACTERS_MAX = 32 << 20;

/** Bytes of a file system of which nobody knows the size. */
const UNKNOWN_ROOM = { bytes: 2 ** 50, free: 2 ** 49 };

/** An open file. What is done with it, is done in order. */
interface Handle {
  path: string;
  /** Which of them served it: a later one does not know it. */
  provider: FileProvider;
  file: Promise<OpenFile>;
  last: Promise<unknown>;
}

/** The service of one shared directory. */
export class FileService {
  readonly #handles = new Map<number, Handle>();
  #provider: FileProvider;
  #hasReported = false;

  /**
   * @param answer takes the answers
   * @param report is told of the first failure that is no error of a file system, in one sentence
   */
  constructor(
    provider: FileProvider,
    private readonly tag: string,
    private readonly answer: (answer: AnswerMessage) => void,
    private readonly report: (message: string) => void,
  ) {
    this.#provider = provider;
  }

  /** Has files served by `provider` from now on; those that are open stay with who opened them. */
  replaceProvider(provider: FileProvider): void {
    this.#provider = provider;
  }

  /** Has an operation done. */
  take({ share, id, operation, data }: OperationMessage): void {
    const parsed = JSON.parse(operation) as Operation;
    this.#inTime(this.#inOrder(parsed, data), parsed)
      .then((outcome) => {
        if (id !== 0) this.answer({ type: "answer", share, id, errno: 0, ...outcome });
      })
      .catch((error: unknown) => {
        const errno = this.#errorNumber(error);
        if (id !== 0) this.answer({ type: "answer", share, id, errno, json: "null", data: new Uint8Array() });
      });
  }

  async #inTime(outcome: Promise<Outcome>, { kind }: Operation): Promise<Outcome> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new FileError("ETIMEDOUT", `"${kind}" has not ended in time`)), PATIENCE_MS);
    });
    try {
      return await Promise.race([outcome, late]);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Does what concerns an open file after what was asked of it before. */
  #inOrder(operation: Operation, data: Uint8Array | undefined): Promise<Outcome> {
    if (operation.kind === "open" || operation.kind === "create") return this.#open(operation);
    const handle = "handle" in operation && operation.handle !== null ? this.#handles.get(operation.handle) : undefined;
    if (!handle) return this.#perform(operation);
    const outcome = handle.last.then(() => this.#performOn(handle, operation, data));
    handle.last = outcome.catch(() => undefined);
    return outcome;
  }

  async #open(operation: Extract<Operation, { kind: "open" | "create" }>): Promise<Outcome> {
    const provider = this.#provider;
    const { path } = operation;
    const opening = async (): Promise<OpenFile> =>
      operation.kind === "open"
        ? provider.open(path, operation)
        : able(provider, "create")(path, operation.new, operation);
    const file = opening();
    const handle: Handle = { path, provider, file, last: file.catch(() => undefined) };
    this.#handles.set(operation.handle, handle);
    const opened = await file;
    if (operation.kind === "open") return DONE;
    return told(await (opened.stat?.() ?? provider.stat(path)));
  }

  /** Does what concerns an open file. */
  async #performOn(handle: Handle, operation: Operation, data: Uint8Array | undefined): Promise<Outcome> {
    if (operation.kind === "close") {
      this.#handles.delete(operation.handle);
      // One that was never opened needs no end.
      await (await handle.file.catch(() => undefined))?.close?.();
      return DONE;
    }
    const file = await handle.file;
    switch (operation.kind) {
      case "read": {
        const bytes = await file.read(operation.offset, operation.length);
        if (bytes.byteLength > operation.length) throw new Error("more bytes were read than were asked for");
        return read(bytes);
      }
      case "write":
        await able(file, "write")(operation.offset, data ?? new Uint8Array());
        return DONE;
      case "sync":
        await file.sync?.();
        return DONE;
      case "stat":
        if (file.stat) return told(await file.stat());
        return this.#perform(operation);
      case "change":
        if (file.change) await file.change(operation.change);
        else return this.#perform(operation);
        return DONE;
      default:
        throw new FileError("EBADF");
    }
  }

  /** Does what concerns a path. */
  async #perform(operation: Operation): Promise<Outcome> {
    const provider = this.#provider;
    switch (operation.kind) {
      case "stat":
        return told(await provider.stat(named(operation.path)));
      case "list": {
        const outcome = told([...(await provider.list(operation.path))]);
        if (outcome.json.length > ANSWER_CHARACTERS_MAX) throw new Error("the directory has too many entries");
        return outcome;
      }
      case "change":
        await able(provider, "change")(named(operation.path), operation.change);
        return DONE;
      case "makeDirectory":
        await able(provider, "makeDirectory")(operation.path, operation.new);
        return told(await provider.stat(operation.path));
      case "makeLink":
        await able(provider, "makeLink")(operation.path, operation.target, operation.new);
        return told(await provider.stat(operation.path));
      case "readLink":
        return told(await able(provider, "readLink")(operation.path));
      case "link":
        await able(provider, "link")(operation.path, operation.to);
        return DONE;
      case "rename":
        await able(provider, "rename")(operation.path, operation.to);
        return DONE;
      case "remove":
        await able(provider, "remove")(operation.path);
        return DONE;
      case "removeDirectory":
        await able(provider, "removeDirectory")(operation.path);
        return DONE;
      case "room":
        return told((await provider.room?.(operation.path)) ?? UNKNOWN_ROOM);
      case "close":
        return DONE;
      default:
        throw new FileError("EBADF");
    }
  }

  #errorNumber(error: unknown): number {
    const known = errorNumber(error);
    if (known === undefined && !this.#hasReported) {
      this.#hasReported = true;
      this.report(`The share ${this.tag} has failed: ${reason(error)}. The guest sees an I/O error.`);
    }
    return known ?? ERROR_NUMBERS.EIO;
  }
}

/** An operation that may be missing. */
function able<Target extends object, Name extends keyof Target>(target: Target, name: Name): NonNullable<Target[Name]> {
  const operation = target[name];
  if (typeof operation !== "function") throw new FileError("EOPNOTSUPP");
  return operation.bind(target) as NonNullable<Target[Name]>;
}

/** The path of a file that still has a name. */
function named(path: string | null): string {
  if (path === null) throw new FileError("ENOENT");
  return path;
}
