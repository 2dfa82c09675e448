/**
 * The cache of images: blobs by their digests, and which manifest each name stands for. Its files are an OCI image layout as
 * well, so that other tools take images out of it.
 */

import { collect } from "../bytes.js";
import { DinghyError } from "../options.js";
import { Digester, digestOf, isDigest } from "./digest.js";
import { type CacheFiles, type NewFile, readWhole, writeWhole } from "./files.js";

/** Largest manifest, as in other registries. */
export const MOST_MANIFEST_BYTES = 4 * 1024 * 1024;

/** What a name and tag stand for. */
export interface Reference {
  /** Of the manifest. */
  digest: string;
  /** When it was asked for last, in milliseconds since 1970. */
  usedAt?: number;
  /** Whether it stays when the cache becomes too large. */
  isPinned?: boolean;
}

/** A manifest. */
export interface Manifest {
  bytes: Uint8Array;
  mediaType: string;
  digest: string;
}

/** Contents are not those that their digest names. */
export class DigestError extends DinghyError {
  override name = "DigestError";
}

/** How exactly it is known when an image was used. */
const USE_MS = 60_000;

const blobFile = (digest: string): string => `blobs/sha256/${digest.slice("sha256:".length)}`;
const referenceFile = (repository: string, tag: string): string => `refs/${encodeURIComponent(`${repository}:${tag}`)}`;

/** Blobs and references in files. */
export class ImageStore {
  /** Blobs that were kept since the start and that no tag may stand for yet: those of a pull or push that goes on. */
  readonly #coming = new Set<string>();
  /** Blobs that were read whole since the start, and were what they are to be. */
  readonly #verified = new Set<string>();

  /** @param refused told of a blob in the cache that is damaged; it has been removed */
  constructor(
    private readonly files: CacheFiles,
    private readonly refused: (digest: string) => void,
  ) {}

  /** The size of a blob, or nothing where it is not cached. */
  size(digest: string): Promise<number | undefined> {
    return this.files.size(blobFile(digest));
  }

  /** The bytes of a cached blob from `from` up to `to`. They fail before the last of them if the blob is damaged. */
  async read(digest: string, size: number, from: number, to: number): Promise<ReadableStream<Uint8Array>> {
    const name = blobFile(digest);
    if (this.#verified.has(digest)) return this.files.read(name, from, to);
    const isWhole = from === 0 && to === size;
    if (!isWhole) {
      for (const reader = this.#verifying(digest, size).getReader(); !(await reader.read()).done;);
      return this.files.read(name, from, to);
    }
    return this.#verifying(digest, size);
  }

  #verifying(digest: string, size: number): ReadableStream<Uint8Array> {
    return verified(this.files.read(blobFile(digest), 0, size), digest, {
      end: async (outcome) => {
        if (outcome === "right") this.#verified.add(digest);
        if (outcome !== "wrong") return;
        await this.remove(digest);
        this.refused(digest);
      },
    });
  }

  /** The digests of all blobs. */
  async blobs(): Promise<string[]> {
    return (await this.files.list("blobs/sha256")).map((name) => `sha256:${name}`).filter(isDigest);
  }

  /** Whether a blob was kept since the start: it may belong to what is not named yet. */
  isComing(digest: string): boolean {
    return this.#coming.has(digest);
  }

  /** Removes a blob. */
  async remove(digest: string): Promise<void> {
    this.#verified.delete(digest);
    this.#coming.delete(digest);
    await this.files.remove(blobFile(digest));
  }

  /** Begins a blob whose digest is not known, or not to be believed, yet. */
  create(): Promise<NewFile> {
    return this.files.create();
  }

  /**
   * Keeps a stream as a blob while it is read by whoever gets what this returns. Its last part comes when the digest has
   * been checked; the stream fails with a {@link DigestError} in its place if that is another one. Where there is no room to
   * keep it, it is passed on all the same.
   *
   * @param progress told how many bytes have come
   * @param unkept told why it is not kept
   */
  async keeping(
    stream: ReadableStream<Uint8Array>,
    digest: string,
    progress: (bytes: number) => void,
    unkept: (error: unknown) => void,
  ): Promise<ReadableStream<Uint8Array>> {
    let bytes = 0;
    let file: NewFile | undefined;
    /** Does something with the file; without room there is none from then on. */
    const attempt = async (action: (file: NewFile) => Promise<void>): Promise<void> => {
      const current = file;
      if (!current) return;
      try {
        await action(current);
      } catch (error) {
        file = undefined;
        unkept(error);
        await current.discard().catch(() => undefined);
      }
    };
    try {
      file = await this.files.create();
    } catch (error) {
      unkept(error);
    }
    return verified(stream, digest, {
      part: async (part) => {
        bytes += part.byteLength;
        await attempt((file) => file.write(part));
        progress(bytes);
      },
      end: (outcome) =>
        attempt(async (file) => {
          if (outcome !== "right") return file.discard();
          await file.keep(blobFile(digest));
          this.#noteKept(digest);
        }),
    });
  }

  /** Keeps a file that was written as the blob `digest`, if that is its digest. Returns whether it is. */
  async keep(file: NewFile, digest: string, computed: string): Promise<boolean> {
    if (digest !== computed) {
      await file.discard();
      return false;
    }
    await file.keep(blobFile(digest));
    this.#noteKept(digest);
    return true;
  }

  #noteKept(digest: string): void {
    this.#verified.add(digest);
    this.#coming.add(digest);
  }

  /** A cached manifest.
   * @throws DigestError if it is damaged */
  async manifest(digest: string): Promise<Manifest | undefined> {
    const size = await this.size(digest);
    if (size === undefined || size > MOST_MANIFEST_BYTES) return undefined;
    const bytes = await collect(await this.read(digest, size, 0, size));
    return { bytes, digest, mediaType: mediaTypeOf(bytes) };
  }

  /** Keeps a manifest under its digest. */
  async keepManifest(bytes: Uint8Array): Promise<string> {
    const digest = digestOf(bytes);
    await writeWhole(this.files, blobFile(digest), bytes);
    this.#noteKept(digest);
    return digest;
  }

  /** What a tag stands for. */
  async reference(repository: string, tag: string): Promise<Reference | undefined> {
    const bytes = await readWhole(this.files, referenceFile(repository, tag));
    if (!bytes) return undefined;
    try {
      return JSON.parse(new TextDecoder().decode(bytes)) as Reference;
    } catch {
      // A file that a crash has left half.
      return undefined;
    }
  }

  /** Lets a tag stand for a manifest. */
  async refer(repository: string, tag: string, reference: Reference): Promise<void> {
    const bytes = new TextEncoder().encode(JSON.stringify(reference));
    await writeWhole(this.files, referenceFile(repository, tag), bytes);
    await this.#writeIndex();
  }

  /** Notes that what a tag stands for is used. */
  async touch(repository: string, tag: string): Promise<void> {
    const reference = await this.reference(repository, tag);
    const now = Date.now();
    if (!reference || (reference.usedAt ?? 0) > now - USE_MS) return;
    const bytes = new TextEncoder().encode(JSON.stringify({ ...reference, usedAt: now }));
    await writeWhole(this.files, referenceFile(repository, tag), bytes);
  }

  /** Lets a tag stand for nothing. */
  async forget(repository: string, tag: string): Promise<void> {
    await this.files.remove(referenceFile(repository, tag));
    await this.#writeIndex();
  }

  /** Writes what makes a layout of the files (OCI image specification, "Image Layout"); it is never read here. */
  async #writeIndex(): Promise<void> {
    const manifests: unknown[] = [];
    for (const [repository, tag] of await this.tags()) {
      const digest = (await this.reference(repository, tag))?.digest;
      const manifest = digest === undefined ? undefined : await readWhole(this.files, blobFile(digest));
      if (!manifest) continue;
      const annotations = { "org.opencontainers.image.ref.name": `${repository}:${tag}` };
      manifests.push({ mediaType: mediaTypeOf(manifest), digest, size: manifest.byteLength, annotations });
    }
    const mediaType = "application/vnd.oci.image.index.v1+json";
    for (const [name, content] of [
      ["oci-layout", { imageLayoutVersion: "1.0.0" }],
      ["index.json", { schemaVersion: 2, mediaType, manifests }],
    ] as const) {
      await writeWhole(this.files, name, new TextEncoder().encode(JSON.stringify(content)));
    }
  }

  /** All tags, as repository and tag. */
  async tags(): Promise<[repository: string, tag: string][]> {
    const names = await this.files.list("refs");
    return names.sort().map((name) => {
      const text = decodeURIComponent(name);
      const colon = text.lastIndexOf(":");
      return [text.slice(0, colon), text.slice(colon + 1)];
    });
  }
}

/** What a manifest or index names. Of what is neither, nothing. */
export function namedBy(bytes: Uint8Array): { digest: string; isManifest: boolean; isForeign: boolean }[] {
  const named: { digest: string; isManifest: boolean; isForeign: boolean }[] = [];
  const add = (descriptor: unknown, isManifest: boolean): void => {
    const { digest, mediaType } = (descriptor ?? {}) as { digest?: unknown; mediaType?: unknown };
    const isForeign = typeof mediaType === "string" && /foreign|nondistributable/.test(mediaType);
    if (typeof digest === "string") named.push({ digest, isManifest, isForeign });
  };
  const { config, layers, manifests } = parsed(bytes);
  if (Array.isArray(manifests)) manifests.forEach((manifest) => add(manifest, true));
  if (config !== undefined) add(config, false);
  if (Array.isArray(layers)) layers.forEach((layer) => add(layer, false));
  return named;
}

/** The media type of a manifest: what it says itself, or what it looks like. */
export function mediaTypeOf(bytes: Uint8Array): string {
  const { mediaType, manifests, schemaVersion } = parsed(bytes);
  if (typeof mediaType === "string" && /^[\w.+-]+\/[\w.+-]+$/.test(mediaType)) return mediaType;
  if (schemaVersion === 1) return "application/vnd.docker.distribution.manifest.v1+prettyjws";
  return Array.isArray(manifests)
    ? "application/vnd.oci.image.index.v1+json"
    : "application/vnd.oci.image.manifest.v1+json";
}

function parsed(bytes: Uint8Array): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(bytes));
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}

/** What is told of a stream while its digest is computed. */
interface Watcher {
  /** Called with each part, before the reader gets it. */
  part?: (bytes: Uint8Array) => Promise<void>;
  /** Called at the end, before the reader gets the last part; also when the stream fails or is not wanted. */
  end: (outcome: "right" | "wrong" | "unfinished") => Promise<void>;
}

/** A stream whose last part comes when its digest has been found right; otherwise it fails there. */
function verified(stream: ReadableStream<Uint8Array>, digest: string, watcher: Watcher): ReadableStream<Uint8Array> {
  const reader = stream.getReader();
  const digester = new Digester();
  let held: Uint8Array | undefined;
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        for (;;) {
          let next;
          try {
            next = await reader.read();
            if (!next.done) await watcher.part?.(next.value);
          } catch (error) {
            await watcher.end("unfinished");
            throw error;
          }
          const ready = held;
          if (next.done) {
            const isRight = digester.digest() === digest;
            await watcher.end(isRight ? "right" : "wrong");
            if (!isRight) throw new DigestError(`The contents of ${digest} have another digest.`);
            if (ready) controller.enqueue(ready);
            controller.close();
            return;
          }
          digester.update(next.value);
          held = next.value;
          if (!ready) continue;
          controller.enqueue(ready);
          return;
        }
      },
      async cancel(reason) {
        await reader.cancel(reason);
        await watcher.end("unfinished");
      },
    },
    { highWaterMark: 0 },
  );
}
