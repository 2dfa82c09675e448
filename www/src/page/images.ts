/** The dialog about the images in the cache: which there are, which stay, files of them, and their size. */

import { type CachedImage, type Images, images } from "dinghy";

import * as format from "./format.js";
import { element } from "./view.js";

/** Shows the images, and takes archives that are chosen or dropped on the page. */
export class ImagesDialog {
  readonly #dialog = element("images") as HTMLDialogElement;
  readonly #list = element("images-list");
  readonly #hint = element("images-hint");
  readonly #file = element("images-file") as HTMLInputElement;

  /**
   * @param registries the registries that the page's registry may ask
   * @param mostBytes what the cache should not exceed
   * @param closed called when the dialog is closed
   */
  constructor(
    private readonly registries: readonly string[],
    private readonly mostBytes: number,
    closed: () => void,
  ) {
    element("images-close").onclick = () => this.#dialog.close();
    element("images-import").onclick = () => this.#file.click();
    this.#file.onchange = () => {
      const [file] = this.#file.files ?? [];
      if (file) void this.take(file);
    };
    this.#dialog.onclose = closed;
    addEventListener("dragover", (event) => event.preventDefault());
    addEventListener("drop", (event) => {
      event.preventDefault();
      const [file] = event.dataTransfer?.files ?? [];
      if (file) void this.take(file);
    });
  }

  /** Opens it. */
  async open(): Promise<void> {
    this.#dialog.showModal();
    await this.#do(() => Promise.resolve(""));
  }

  /** Takes an archive of images. */
  async take(file: File): Promise<void> {
    if (!this.#dialog.open) this.#dialog.showModal();
    this.#hint.textContent = `Reading ${file.name} …`;
    await this.#do(async (cache) => {
      const names = await cache.import(file);
      return `${names.join(", ")} can be pulled now.`;
    });
  }

  /** Shows what a change outside the dialog has made of the images. */
  changed(): void {
    if (this.#dialog.open) void this.#do(() => Promise.resolve(undefined));
  }

  /** Does something that ends in a remark, and shows that, or why it failed, and the images as they are then. */
  async #do(action: (cache: Images) => Promise<string | undefined>): Promise<void> {
    try {
      const cache = await images();
      const remark = await action(cache);
      if (remark !== undefined) this.#hint.textContent = remark;
      await this.#show(cache);
    } catch (error) {
      this.#hint.textContent = error instanceof Error ? error.message : String(error);
    }
  }

  async #show(cache: Images): Promise<void> {
    const [found, bytes] = [await cache.list(), await cache.bytes()];
    const asked = this.registries.length === 0 ? "no registry" : this.registries.join(", ");
    element("images-state").textContent =
      `${format.megabytes(bytes)} of ${format.megabytes(this.mostBytes)} are taken. Asked for others: ${asked}.`;
    this.#list.replaceChildren(...found.map((image) => this.#row(image)));
  }

  #row(image: CachedImage): HTMLElement {
    const row = document.createElement("li");
    const name = document.createElement("span");
    const damage = image.isDamaged ? ", damaged: pull it again" : "";
    name.textContent = `${image.name} (${format.megabytes(image.bytes)}${damage})`;
    const button = (text: string, action: (cache: Images) => Promise<string>): HTMLButtonElement => {
      const made = document.createElement("button");
      made.type = "button";
      made.textContent = text;
      made.onclick = () => void this.#do(action);
      return made;
    };
    const pin = button(image.isPinned ? "Unpin" : "Pin", async (cache) => {
      await cache.pin(image.name, !image.isPinned);
      return image.isPinned ? `${image.name} may be forgotten.` : `${image.name} stays.`;
    });
    pin.ariaPressed = String(image.isPinned);
    const save = button("Export", async (cache) => {
      const archive = await new Response(await cache.export(image.name)).blob();
      const link = document.createElement("a");
      link.href = URL.createObjectURL(archive);
      link.download = `${image.name.replaceAll(/[/:]/g, "-")}.tar`;
      link.click();
      // The download has begun; the address is not needed for long.
      setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
      return `${image.name} was exported.`;
    });
    const forget = button("Forget", async (cache) => {
      await cache.forget(image.name);
      return `${image.name} was forgotten.`;
    });
    row.append(name, pin, save, forget);
    return row;
  }
}
