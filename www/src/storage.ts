/** What this page keeps of its machines' disks in the browser: their overlays, by name. */

import { Images } from "./registry/images.js";
import { openImageCache } from "./worker/image-cache.js";
import { DinghyError } from "./options.js";

/** The first bytes of an overlay. */
const MAGIC = "dinghyOv";

/** The emulator's folder in the origin's private file system. */
export async function privateFolder(): Promise<FileSystemDirectoryHandle> {
  const root = await navigator.storage.getDirectory();
  return root.getDirectoryHandle("dinghy", { create: true });
}

/** The file of an overlay.
 * @throws DOMException `NotFoundError` if there is none and `create` is false */
export async function overlayFile(name: string, create: boolean): Promise<FileSystemFileHandle> {
  const folder = await (await privateFolder()).getDirectoryHandle("overlays", { create: true });
  return folder.getFileHandle(`${name}.overlay`, { create });
}

/** The folder of the cache of images. */
export async function imageFolder(): Promise<FileSystemDirectoryHandle> {
  return (await privateFolder()).getDirectoryHandle("images", { create: true });
}

/** The file of the machine that is kept beside the overlay `name`.
 * @throws DOMException `NotFoundError` if there is none and `create` is false */
export async function keptFile(name: string, create: boolean): Promise<FileSystemFileHandle> {
  const folder = await (await privateFolder()).getDirectoryHandle("machines", { create: true });
  return folder.getFileHandle(`${name}.machine`, { create });
}

/**
 * Forgets the machine that is kept beside the overlay `name`: the next one boots from the disk.
 *
 * @throws DinghyError if a machine uses it
 */
export function forgetKept(name: string): Promise<void> {
  return alone(name, () => removeKept(name));
}

async function removeKept(name: string): Promise<void> {
  const folder = await (await privateFolder()).getDirectoryHandle("machines", { create: true });
  await folder.removeEntry(`${name}.machine`).catch(unlessMissing);
}

function unlessMissing(error: unknown): void {
  if (!(error instanceof DOMException && error.name === "NotFoundError")) throw error;
}

/** Whether a machine may be kept beside the overlay `name`. */
export async function isMachineKept(name: string): Promise<boolean> {
  try {
    const file = await (await keptFile(checkOverlayName(name), false)).getFile();
    return file.size > 0;
  } catch (error) {
    if (error instanceof DOMException) return false;
    throw error;
  }
}

/** The name of the lock that a machine holds on its overlay. */
export function overlayLock(name: string): string {
  return `dinghy:overlay:${name}`;
}

/** Checks the name of an overlay.
 * @throws DinghyError if it cannot be one */
export function checkOverlayName(name: string): string {
  if (!/^[\w-]{1,64}$/.test(name)) {
    throw new DinghyError(`"${name}" cannot be the name of an overlay; use up to 64 letters, digits, - and _.`);
  }
  return name;
}

/** Bytes that the overlay `name` takes; 0 if there is none. */
export async function overlayBytes(name: string): Promise<number> {
  try {
    const file = await (await overlayFile(checkOverlayName(name), false)).getFile();
    return file.size;
  } catch (error) {
    if (error instanceof DOMException) return 0;
    throw error;
  }
}

/**
 * The overlay `name` as one file, which {@link importOverlay} takes, here or in another browser.
 *
 * @throws DinghyError if a machine uses it, or there is none
 */
export function exportOverlay(name: string): Promise<Blob> {
  return alone(name, async () => {
    // A copy: the file itself changes with the next start.
    const file = await (await overlayFile(name, false)).getFile();
    return new Blob([await file.arrayBuffer()], { type: "application/octet-stream" });
  });
}

/**
 * Replaces the overlay `name` by what {@link exportOverlay} has given.
 *
 * @throws DinghyError if a machine uses it, or `contents` is something else
 */
export function importOverlay(name: string, contents: Blob): Promise<void> {
  return alone(name, async () => {
    const start = await contents.slice(0, 2 * 4096).text();
    // One of the two superblocks may be empty.
    if (!start.includes(MAGIC)) {
      throw new DinghyError("This file is no exported disk; choose one that was exported here.");
    }
    await removeKept(name);
    const writable = await (await overlayFile(name, true)).createWritable();
    await contents.stream().pipeTo(writable);
  });
}

/**
 * Forgets all that the guest has written to the overlay `name`.
 *
 * @throws DinghyError if a machine uses it
 */
export function resetOverlay(name: string): Promise<void> {
  return alone(name, async () => {
    const folder = await (await privateFolder()).getDirectoryHandle("overlays", { create: true });
    await removeKept(name);
    await folder.removeEntry(`${name}.overlay`).catch(unlessMissing);
  });
}

/** Does something while no machine can open the overlay. */
async function alone<Result>(name: string, action: () => Promise<Result>): Promise<Result> {
  checkOverlayName(name);
  const result = await navigator.locks.request(overlayLock(name), { ifAvailable: true }, async (lock) => {
    if (!lock) throw new DinghyError("The disk is in use; shut the machine down first.", "disk-in-use");
    return { value: await action() };
  });
  return result.value;
}

/** The images that the registry in the emulator keeps in this browser. */
export async function images(): Promise<Images> {
  return new Images(await openImageCache());
}

/** Bytes of the images that the registry in the emulator keeps in this browser. */
export async function imageBytes(): Promise<number> {
  let sum = 0;
  for await (const file of (await blobFolder()).values()) {
    if (file.kind === "file") sum += (await file.getFile()).size;
  }
  return sum;
}

/** Forgets the images that the registry in the emulator keeps; what a machine is just writing stays. */
export async function clearImages(): Promise<void> {
  const references = await (await imageFolder()).getDirectoryHandle("refs", { create: true });
  // References first: without their blobs they would lead nowhere.
  for (const folder of [references, await blobFolder()]) {
    const names: string[] = [];
    for await (const name of folder.keys()) names.push(name);
    for (const name of names) await folder.removeEntry(name).catch(() => undefined);
  }
}

async function blobFolder(): Promise<FileSystemDirectoryHandle> {
  const options = { create: true };
  return (await (await imageFolder()).getDirectoryHandle("blobs", options)).getDirectoryHandle("sha256", options);
}
