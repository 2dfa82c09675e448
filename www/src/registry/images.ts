/** The images in the cache, as a user looks after them: how large they are, which stay, and files of them. */

import { collect } from "../bytes.js";
import { DinghyError } from "../options.js";
import { Digester, isDigest } from "./digest.js";
import type { CacheFiles } from "./files.js";
import { ImageStore, MOST_MANIFEST_BYTES, namedBy } from "./store.js";
import { type ArchiveEntry, readArchive, writeArchive } from "./tar.js";

/** An image in the cache. */
export interface CachedImage {
  /** `REPOSITORY:TAG`, as Docker knows it. */
  name: string;
  /** Of its manifest or index. */
  digest: string;
  /** What the cache has of it, with what it shares with others. */
  bytes: number;
  /** When it was pulled, pushed or imported last, in milliseconds since 1970. */
  usedAt: number;
  /** Whether it stays when the cache becomes too large. */
  isPinned: boolean;
  /** Whether its manifest, or one that this names and the cache has, is gone or not what its digest says: it must be pulled again. */
  isDamaged: boolean;
}

const INDEX_TYPE = "application/vnd.oci.image.index.v1+json";
const MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json";
/** By which name an image goes, in an index; containerd's is the whole one. */
const NAME_NOTES = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];
/** What `docker save` and an index name without a name. */
const NAMELESS = "imported:latest";
const NAME = /^[a-z0-9][a-z0-9._:/-]*:\w[\w.-]{0,127}$/;

/** A descriptor, as an index holds them. */
interface Descriptor {
  mediaType: string;
  digest: string;
  size: number;
  annotations?: Record<string, string>;
}

/** The cache, by images. */
export class Images {
  /** @param store the store on the same files, if there is one already: what it has just used is not given up */
  constructor(
    files: CacheFiles,
    private readonly store = new ImageStore(files, () => undefined),
  ) {}

  /** All images, by name. */
  async list(): Promise<CachedImage[]> {
    const images: CachedImage[] = [];
    for (const [repository, tag] of await this.store.tags()) {
      const reference = await this.store.reference(repository, tag);
      if (!reference) continue;
      const { digest, usedAt = 0, isPinned = false } = reference;
      let bytes = 0;
      const { sizes, isDamaged } = await this.#held(digest);
      for (const size of sizes.values()) bytes += size;
      images.push({ name: `${repository}:${tag}`, digest, bytes, usedAt, isPinned, isDamaged });
    }
    return images;
  }

  /** Bytes that all of them take, and what is left of others. */
  async bytes(): Promise<number> {
    let sum = 0;
    for (const digest of await this.store.blobs()) sum += (await this.store.size(digest)) ?? 0;
    return sum;
  }

  /** Lets an image stay, or no longer. */
  async pin(name: string, isPinned: boolean): Promise<void> {
    const [repository, tag] = split(name);
    const reference = await this.store.reference(repository, tag);
    if (!reference) throw new DinghyError(`There is no image ${name} in the cache.`);
    await this.store.refer(repository, tag, { ...reference, isPinned });
  }

  /** Forgets an image, and what no other one needs. */
  async forget(name: string): Promise<void> {
    const [repository, tag] = split(name);
    const digest = (await this.store.reference(repository, tag))?.digest;
    const gone = digest === undefined ? [] : [...(await this.#held(digest)).sizes.keys()];
    await this.store.forget(repository, tag);
    await this.#sweep(await this.list(), gone);
  }

  /**
   * Forgets what was used least recently, until no more than `mostBytes` are taken, or nothing is left to forget: pinned
   * images stay, and the one that was used last.
   *
   * @returns the images' names
   */
  async trim(mostBytes: number): Promise<string[]> {
    const forgotten: string[] = [];
    if ((await this.bytes()) <= mostBytes) return forgotten;
    let kept = (await this.list()).sort((a, b) => a.usedAt - b.usedAt);
    // What a pull that was broken off has left costs nobody anything.
    await this.#sweep(kept);
    const latest = kept.at(-1);
    for (const image of kept.filter(({ isPinned }) => !isPinned)) {
      if (image === latest || (await this.bytes()) <= mostBytes) break;
      const gone = [...(await this.#held(image.digest)).sizes.keys()];
      await this.store.forget(...split(image.name));
      kept = kept.filter((other) => other !== image);
      await this.#sweep(kept, gone);
      forgotten.push(image.name);
    }
    return forgotten;
  }

  /** An image as an archive of an OCI layout, as `docker load`, `skopeo` and others take it. */
  async export(name: string): Promise<ReadableStream<Uint8Array>> {
    const [repository, tag] = split(name);
    const reference = await this.store.reference(repository, tag);
    const root = reference && (await this.store.manifest(reference.digest));
    if (!root) throw new DinghyError(`There is no image ${name} in the cache.`);
    const annotations = { "org.opencontainers.image.ref.name": name, "io.containerd.image.name": fullName(name) };
    // Of an index, what was pulled of it: usually the manifest of one platform.
    const children = namedBy(root.bytes).filter(({ isManifest }) => isManifest);
    const roots = children.length === 0 ? [root.digest] : children.map(({ digest }) => digest);
    const manifests: Descriptor[] = [];
    const blobs = new Map<string, number>();
    for (const digest of roots) {
      const manifest = await this.store.manifest(digest);
      const held = manifest && (await this.#complete(manifest.bytes));
      if (!held) continue;
      const size = manifest.bytes.byteLength;
      manifests.push({ mediaType: manifest.mediaType, digest, size, annotations });
      blobs.set(digest, size);
      held.forEach((bytes, blob) => blobs.set(blob, bytes));
    }
    if (manifests.length === 0) throw new DinghyError(`Not all of ${name} is in the cache; pull it again.`);
    const json = (content: unknown): Uint8Array<ArrayBuffer> => new TextEncoder().encode(JSON.stringify(content));
    const file = (path: string, bytes: Uint8Array<ArrayBuffer>): ArchiveEntry => ({
      name: path,
      size: bytes.byteLength,
      open: () => new Blob([bytes]).stream(),
    });
    return writeArchive([
      file("oci-layout", json({ imageLayoutVersion: "1.0.0" })),
      file("index.json", json({ schemaVersion: 2, mediaType: INDEX_TYPE, manifests })),
      ...[...blobs].map(([digest, size]) => ({
        name: `blobs/sha256/${digest.slice("sha256:".length)}`,
        size,
        open: () => this.store.read(digest, size, 0, size),
      })),
    ]);
  }

  /**
   * Takes the images of an archive: an OCI layout, or what `docker save` makes; packed with gzip or not.
   *
   * @returns their names
   * @throws DinghyError if it is none of these, or something in it is not what its digest says
   */
  async import(archive: Blob): Promise<string[]> {
    const isPacked = new Uint8Array(await archive.slice(0, 2).arrayBuffer()).join() === "31,139";
    const plain = isPacked
      ? await new Response(archive.stream().pipeThrough(new DecompressionStream("gzip"))).blob()
      : archive;
    const files = await readArchive(plain);
    const names = files.has("index.json") ? await this.#importLayout(files) : await this.#importSaved(files);
    if (names.length === 0) throw new DinghyError("There is no image in this archive.");
    return names;
  }

  async #importLayout(files: ReadonlyMap<string, Blob>): Promise<string[]> {
    const { manifests } = (await jsonOf(files, "index.json")) as { manifests?: Descriptor[] };
    const names: string[] = [];
    for (const { digest, annotations } of Array.isArray(manifests) ? manifests : []) {
      await this.#importTree(files, digest);
      const note = NAME_NOTES.map((key) => annotations?.[key]).find((name) => name !== undefined);
      names.push(await this.#name(note, digest));
    }
    return names;
  }

  /** Takes a manifest or index, and what it names and the archive has. */
  async #importTree(files: ReadonlyMap<string, Blob>, digest: string): Promise<void> {
    const manifest = await this.#importBlob(files, digest);
    if (!manifest || manifest.size > MOST_MANIFEST_BYTES) {
      throw new DinghyError(`The archive does not have ${digest}, which it names.`);
    }
    for (const named of namedBy(new Uint8Array(await manifest.arrayBuffer()))) {
      // Of an index, an archive may have some of the platforms only.
      if (named.isManifest && files.has(blobPath(named.digest))) await this.#importTree(files, named.digest);
      else if (!named.isManifest && !named.isForeign && !(await this.#importBlob(files, named.digest)))
        throw new DinghyError(`The archive does not have ${named.digest}, which it names.`);
    }
  }

  async #importBlob(files: ReadonlyMap<string, Blob>, digest: string): Promise<Blob | undefined> {
    const content = isDigest(digest) ? files.get(blobPath(digest)) : undefined;
    if (content && (await this.#add(content)) !== digest) {
      throw new DinghyError(`The archive is damaged: the contents of ${digest} have another digest.`);
    }
    return content;
  }

  /** Keeps a blob; its digest. */
  async #add(content: Blob): Promise<string> {
    const file = await this.store.create();
    try {
      const digester = new Digester();
      const reader = content.stream().getReader();
      for (let next = await reader.read(); !next.done; next = await reader.read()) {
        digester.update(next.value);
        await file.write(next.value);
      }
      const digest = digester.digest();
      await this.store.keep(file, digest, digest);
      return digest;
    } catch (error) {
      await file.discard().catch(() => undefined);
      throw error;
    }
  }

  /** What `docker save` made before it made layouts. */
  async #importSaved(files: ReadonlyMap<string, Blob>): Promise<string[]> {
    const images = await jsonOf(files, "manifest.json");
    const names: string[] = [];
    const keep = async (path: string, mediaType: string): Promise<Descriptor> => {
      const content = files.get(path);
      if (!content) throw new DinghyError(`The archive does not have ${path}, which it names.`);
      return { mediaType, digest: await this.#add(content), size: content.size };
    };
    for (const image of Array.isArray(images) ? images : []) {
      const { Config, RepoTags, Layers } = image as { Config?: unknown; RepoTags?: unknown; Layers?: unknown };
      if (typeof Config !== "string" || !Array.isArray(Layers)) continue;
      const config = await keep(Config, "application/vnd.oci.image.config.v1+json");
      const layers: Descriptor[] = [];
      for (const layer of Layers) layers.push(await keep(String(layer), "application/vnd.oci.image.layer.v1.tar"));
      const manifest = { schemaVersion: 2, mediaType: MANIFEST_TYPE, config, layers };
      const digest = await this.store.keepManifest(new TextEncoder().encode(JSON.stringify(manifest)));
      for (const name of Array.isArray(RepoTags) ? RepoTags : [undefined]) {
        names.push(await this.#name(typeof name === "string" ? name : undefined, digest));
      }
    }
    return names;
  }

  /** Lets an image go by the name that its archive gives it; that name as Docker's mirror is asked for it. */
  async #name(given: string | undefined, digest: string): Promise<string> {
    const known = given !== undefined && NAME.test(given) ? given.replace(/^docker\.io\//, "") : NAMELESS;
    const name = known.includes("/") || known === NAMELESS ? known : `library/${known}`;
    await this.store.refer(...split(name), { digest, usedAt: Date.now() });
    return name;
  }

  /** Removes the blobs that no image of `kept` needs: those of `gone`, and those that are not of a pull that goes on. */
  async #sweep(kept: readonly CachedImage[], gone: readonly string[] = []): Promise<void> {
    const needed = new Set<string>();
    for (const { digest } of kept) (await this.#held(digest)).sizes.forEach((_, blob) => needed.add(blob));
    const named = new Set(kept.map(({ digest }) => digest));
    for (const digest of await this.store.blobs()) {
      if (needed.has(digest) || named.has(digest)) continue;
      if (gone.includes(digest) || !this.store.isComing(digest)) await this.store.remove(digest);
    }
  }

  /** What the cache has of a manifest or index, with itself: sizes by digest; and whether a manifest of it is not to be read. */
  async #held(root: string): Promise<{ sizes: Map<string, number>; isDamaged: boolean }> {
    const sizes = new Map<string, number>();
    let isDamaged = false;
    const waiting = [{ digest: root, isManifest: true }];
    for (let next = waiting.pop(); next; next = waiting.pop()) {
      if (sizes.has(next.digest)) continue;
      const size = isDigest(next.digest) ? await this.store.size(next.digest) : undefined;
      if (size === undefined) {
        // Of an index, the cache has the platforms that were pulled; but without its root there is nothing.
        isDamaged ||= next.digest === root;
        continue;
      }
      sizes.set(next.digest, size);
      if (!next.isManifest) continue;
      try {
        const manifest = await this.store.manifest(next.digest);
        if (manifest) waiting.push(...namedBy(manifest.bytes));
        else isDamaged = true;
      } catch {
        // Its user is told, and what it named is found again by a pull.
        isDamaged = true;
      }
    }
    return { sizes, isDamaged };
  }

  /** The sizes of what a manifest names, if the cache has all of it. */
  async #complete(manifest: Uint8Array): Promise<Map<string, number> | undefined> {
    const held = new Map<string, number>();
    for (const { digest, isForeign } of namedBy(manifest)) {
      const size = await this.store.size(digest);
      if (size !== undefined) held.set(digest, size);
      else if (!isForeign) return undefined;
    }
    return held;
  }
}

function blobPath(digest: string): string {
  return `blobs/${digest.replace(":", "/")}`;
}

function split(name: string): [repository: string, tag: string] {
  const colon = name.lastIndexOf(":");
  return [name.slice(0, colon), name.slice(colon + 1)];
}

/** As containerd writes it: with the registry. */
function fullName(name: string): string {
  return /^[^/]*[.:][^/]*\//.test(name) ? name : `docker.io/${name}`;
}

async function jsonOf(files: ReadonlyMap<string, Blob>, name: string): Promise<unknown> {
  const bytes = await collect(files.get(name)?.stream() ?? new Blob([]).stream(), MOST_MANIFEST_BYTES);
  try {
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    throw new DinghyError("This archive holds no images; use one that docker save or an export here has made.");
  }
}
