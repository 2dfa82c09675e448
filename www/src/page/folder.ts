/** The dialog about the directory that the guest finds at /mnt/host: one of this computer, or of this browser. */

import { browserDirectory, DinghyError, type Machine } from "dinghy";

import { askFor, isGranted, recall, remember, type RememberedFolder } from "./folder-memory.js";
import { element } from "./view.js";

/** The tag under which the guest looks for it. */
export const FOLDER_TAG = "host";

/** The directory of the browser's private file system that it can be. */
const PRIVATE_FOLDER = "dinghy-files";

/** What the types of TypeScript lack: not all browsers have it. */
type Picker = (options: { mode: "read" | "readwrite" }) => Promise<FileSystemDirectoryHandle>;
const picker = (globalThis as { showDirectoryPicker?: Picker }).showDirectoryPicker;

/** Chooses the directory. */
export class FolderDialog {
  readonly #dialog = element("folder") as HTMLDialogElement;
  readonly #writes = element("folder-writes") as HTMLInputElement;
  readonly #hint = element("folder-hint");
  readonly #again = element("folder-again") as HTMLButtonElement;

  /**
   * @param machine the running machine, if there is one
   * @param tell tells the user something outside the dialog
   * @param closed called when the dialog is closed
   */
  constructor(
    private readonly machine: () => Machine | undefined,
    private readonly tell: (message: string) => void,
    closed: () => void,
  ) {
    const pick = element("folder-pick") as HTMLButtonElement;
    pick.disabled = picker === undefined;
    pick.onclick = () => void this.#say(this.#pick());
    element("folder-private").onclick = () => void this.#say(this.#openPrivate());
    element("folder-close").onclick = () => this.#dialog.close();
    this.#dialog.onclose = closed;
  }

  /** Opens it. */
  open(): void {
    this.#dialog.showModal();
  }

  /** Gives the guest the folder that it had last, where nobody has to be asked for it, or says how to. */
  async shareAgain(): Promise<void> {
    let last: RememberedFolder | undefined;
    try {
      last = await recall();
      if (!last) return;
      if (await isGranted(last)) {
        this.#share(last);
        return;
      }
    } catch (error) {
      console.warn(
        `the folder of the last visit is not known: ${error instanceof Error ? error.message : String(error)}`,
      );
      return;
    }
    const asked = last;
    this.#again.hidden = false;
    this.#again.textContent = `Share ${asked.folder.name} again`;
    this.#again.onclick = () => void this.#say(this.#ask(asked));
    this.tell(`The guest has no access to the folder ${asked.folder.name} any more; press Folder to share it again.`);
  }

  async #ask(last: RememberedFolder): Promise<string> {
    if (!(await askFor(last))) return `The browser does not let this page use the folder ${last.folder.name}.`;
    return this.#use(last);
  }

  async #pick(): Promise<string> {
    const mode = this.#writes.checked ? "readwrite" : "read";
    // The browser asks the user, and refuses what the page was not granted.
    const folder = await picker?.({ mode });
    return folder ? this.#use({ folder, mode, isPrivate: false }) : "";
  }

  async #openPrivate(): Promise<string> {
    const files = await navigator.storage.getDirectory();
    const folder = await files.getDirectoryHandle(PRIVATE_FOLDER, { create: true });
    return this.#use({ folder, mode: "readwrite", isPrivate: true });
  }

  /** Gives it to the guest, and to the next visit's. */
  async #use(chosen: RememberedFolder): Promise<string> {
    this.#share(chosen);
    this.#again.hidden = true;
    const name = chosen.isPrivate ? "This browser's own folder" : `The folder ${chosen.folder.name}`;
    const shared = `${name} is at /mnt/host in the guest.`;
    try {
      await remember(chosen);
      return shared;
    } catch (error) {
      return `${shared} The next visit will not know it (${error instanceof Error ? error.message : String(error)}).`;
    }
  }

  #share({ folder }: RememberedFolder): void {
    const machine = this.machine();
    if (!machine || machine.exit) throw new DinghyError("There is no running machine.");
    machine.share(FOLDER_TAG, browserDirectory(folder));
  }

  async #say(what: Promise<string>): Promise<void> {
    this.#hint.textContent = await what.catch((error: unknown) => {
      // The user has chosen none.
      if (error instanceof DOMException && error.name === "AbortError") return "";
      return error instanceof Error ? error.message : String(error);
    });
  }
}
