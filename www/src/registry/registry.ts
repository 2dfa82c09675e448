/**
 * The registry in the emulator (OCI distribution 1.1): what the guest's Docker pulls comes through it and stays in
 * the cache, and what it pushes is kept there.
 */

import { collect } from "../bytes.js";
import { DinghyError } from "../options.js";
import type { ServedRequest } from "../network/http-server.js";
import { reason } from "../worker/download.js";
import { Digester, digestOf, isDigest } from "./digest.js";
import { type CacheFiles, type NewFile } from "./files.js";
import { Images } from "./images.js";
import { DigestError, ImageStore, type Manifest, mediaTypeOf, MOST_MANIFEST_BYTES, namedBy } from "./store.js";
import type { Route, Upstream } from "./upstream.js";

/** What the registry tells the user. */
export type RegistryEvent =
  /** A blob is on its way; `totalBytes` where the registry tells it. */
  | { kind: "progress"; image: string; digest: string; bytes: number; totalBytes: number | undefined }
  /** The cache has changed. */
  | { kind: "changed" }
  /** Images were forgotten, because the cache had become too large. */
  | { kind: "forgotten"; images: string[] }
  /** Contents were refused, or a registry could not be asked: one sentence. */
  | { kind: "failed"; message: string };

/** Uploads that are under way; an older one is forgotten for a new one. */
const MOST_UPLOADS = 64;
/** How often progress is told, in bytes. */
const PROGRESS_BYTES = 1024 * 1024;

/**
 * The registry's own name, under which what the guest pushes is kept. Who asks for it by another one, as Docker's mirror of
 * its own registry, is not given that: any container can push, and must not name what others take for an image from outside.
 */
const OWN_NAME = "registry.dinghy.internal";

const NAME = String.raw`[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*`;
const PATH = new RegExp(`^/v2/(${NAME})/(manifests|blobs|tags|referrers)/([^/]+)(?:/([^/]*))?$`);
const TAG = /^\w[\w.-]{0,127}$/;

/** What manifests Docker and others understand. */
const MANIFEST_TYPES = [
  "application/vnd.oci.image.index.v1+json",
  "application/vnd.oci.image.manifest.v1+json",
  "application/vnd.docker.distribution.manifest.list.v2+json",
  "application/vnd.docker.distribution.manifest.v2+json",
].join(", ");

interface Upload {
  repository: string;
  file: NewFile;
  digester: Digester;
}

/** An answer that says what is wrong (distribution specification, "Error Codes"). */
class Refusal extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

/** The registry. */
export class Registry {
  readonly store: ImageStore;
  readonly #images: Images;
  #trimming = Promise.resolve();
  readonly #uploads = new Map<string, Upload>();
  /** Blobs that are on their way: two that want the same one cost one download. */
  readonly #coming = new Map<string, Promise<void>>();

  /**
   * @param routes the registries that may be asked, in this order
   * @param tell told what happens
   * @param mostBytes what the cache should not exceed; it grows as it will if not given
   */
  constructor(
    files: CacheFiles,
    private readonly routes: readonly Route[],
    private readonly tell: (event: RegistryEvent) => void,
    private readonly mostBytes?: number,
  ) {
    this.store = new ImageStore(files, (digest) =>
      this.#failed(
        `The cached contents of ${digest} were damaged; they were removed, and are fetched again when asked for.`,
      ),
    );
    this.#images = new Images(files, this.store);
  }

  /** Answers a request. */
  async answer(request: ServedRequest): Promise<Response> {
    try {
      const response = await this.#answer(request);
      response.headers.set("docker-distribution-api-version", "registry/2.0");
      return response;
    } catch (error) {
      if (error instanceof Refusal) return refusal(error.status, error.code, error.message);
      const message = reason(error);
      this.#failed(message);
      return error instanceof DigestError ? refusal(502, "DIGEST_INVALID", message) : refusal(500, "UNKNOWN", message);
    }
  }

  async #answer({ method, target, headers, body }: ServedRequest): Promise<Response> {
    const url = new URL(target, `http://${OWN_NAME}`);
    const isByName = (headers.get("host") ?? "").replace(/:\d+$/, "").toLowerCase() === OWN_NAME;
    if (url.pathname === "/v2/" || url.pathname === "/v2") return json(200, {});
    if (url.pathname === "/v2/_catalog") {
      return json(200, { repositories: [...new Set((await this.store.tags()).map(([repository]) => repository))] });
    }
    const [, path = "", kind, what = "", rest] = PATH.exec(url.pathname) ?? [];
    // Whoever uses this registry as a mirror of another one names that in the query.
    const mirrored = url.searchParams.get("ns");
    const repository = mirrored === null || mirrored === "docker.io" ? path : `${mirrored}/${path}`;
    if (kind === "tags" && what === "list" && method === "GET") {
      const names = isByName ? [repository, `${OWN_NAME}/${repository}`] : [repository];
      const tags = (await this.store.tags()).filter(([name]) => names.includes(name)).map(([, tag]) => tag);
      if (tags.length === 0) throw new Refusal(404, "NAME_UNKNOWN", `No image ${repository} is in the cache.`);
      return json(200, { name: path, tags });
    }
    if (kind === "blobs" && what === "uploads") {
      return this.#upload({ method, repository, path, id: rest, url, headers, body });
    }
    if (kind === "blobs" && rest === undefined) return this.#blob(method, repository, what, headers);
    if (kind === "manifests" && rest === undefined) {
      if (method === "PUT") return this.#putManifest(repository, path, what, body);
      return this.#getManifest(method, repository, what, headers.get("accept"), isByName);
    }
    throw new Refusal(404, "UNSUPPORTED", `There is nothing at ${url.pathname}.`);
  }

  // Manifests

  async #getManifest(
    method: string,
    repository: string,
    reference: string,
    accept: string | null,
    isByName: boolean,
  ): Promise<Response> {
    if (method === "DELETE") {
      if (!TAG.test(reference)) throw new Refusal(405, "UNSUPPORTED", "Only tags can be deleted.");
      await this.store.forget(`${OWN_NAME}/${repository}`, reference);
      this.tell({ kind: "changed" });
      return new Response(null, { status: 202 });
    }
    if (method !== "GET" && method !== "HEAD") throw unsupported(method);
    const manifest = isDigest(reference)
      ? await this.#manifestByDigest(repository, reference)
      : await this.#manifestByTag(repository, reference, acceptable(accept), isByName);
    if (!manifest) {
      throw new Refusal(404, "MANIFEST_UNKNOWN", `${repository}:${reference} is neither cached nor to be had.`);
    }
    const headers = {
      "content-type": manifest.mediaType,
      "content-length": String(manifest.bytes.byteLength),
      "docker-content-digest": manifest.digest,
    };
    return new Response(manifest.bytes as Uint8Array<ArrayBuffer>, { headers });
  }

  async #manifestByDigest(repository: string, digest: string): Promise<Manifest | undefined> {
    const cached = await this.store.manifest(digest).catch(() => undefined);
    if (cached) return cached;
    for (const { upstream, name } of this.#upstreams(repository)) {
      const bytes = await this.#asking(upstream, () => upstream.manifest(name, digest, MANIFEST_TYPES));
      if (!bytes) continue;
      if (digestOf(bytes) !== digest) throw this.#mismatch(upstream, `the manifest ${digest} of ${repository}`);
      await this.store.keepManifest(bytes);
      this.tell({ kind: "changed" });
      return { bytes, digest, mediaType: mediaTypeOf(bytes) };
    }
    return undefined;
  }

  async #manifestByTag(
    repository: string,
    tag: string,
    accept: string,
    isByName: boolean,
  ): Promise<Manifest | undefined> {
    if (!TAG.test(tag)) throw new Refusal(400, "TAG_INVALID", `"${tag}" is no tag.`);
    const pushed = isByName ? await this.store.reference(`${OWN_NAME}/${repository}`, tag) : undefined;
    if (pushed) {
      await this.store.touch(`${OWN_NAME}/${repository}`, tag);
      return this.#manifestByDigest(repository, pushed.digest);
    }
    for (const { upstream, name } of this.#upstreams(repository)) {
      const bytes = await this.#asking(upstream, () => upstream.manifest(name, tag, accept));
      if (!bytes) continue;
      const digest = await this.store.keepManifest(bytes);
      await this.#refer(repository, tag, digest);
      return { bytes, digest, mediaType: mediaTypeOf(bytes) };
    }
    // Nobody has it, or nobody can be asked now: what it last was will do.
    const known = await this.store.reference(repository, tag);
    if (!known) return undefined;
    await this.store.touch(repository, tag);
    return this.#manifestByDigest(repository, known.digest);
  }

  /** Lets a tag stand for a manifest from now on; it stays pinned if it is. */
  async #refer(repository: string, tag: string, digest: string): Promise<void> {
    const known = await this.store.reference(repository, tag);
    await this.store.refer(repository, tag, { ...known, digest, usedAt: Date.now() });
    this.#changed();
  }

  /** Tells that the cache has changed, and lets it not become too large. */
  #changed(): void {
    this.tell({ kind: "changed" });
    if (this.mostBytes === undefined) return;
    const trim = this.#trimming.then(() => this.#images.trim(this.mostBytes ?? Infinity));
    this.#trimming = trim.then(
      (names) => {
        if (names.length > 0) this.tell({ kind: "forgotten", images: names });
      },
      (error: unknown) => this.#failed(`The cache of images cannot be made smaller: ${reason(error)}.`),
    );
  }

  async #putManifest(
    repository: string,
    path: string,
    reference: string,
    body: ReadableStream<Uint8Array>,
  ): Promise<Response> {
    const bytes = await collect(body, MOST_MANIFEST_BYTES).catch((error: unknown) => {
      throw error instanceof RangeError ? new Refusal(413, "SIZE_INVALID", "The manifest is too large.") : error;
    });
    if (isDigest(reference) && digestOf(bytes) !== reference) {
      throw new Refusal(400, "DIGEST_INVALID", "The manifest has another digest.");
    }
    if (!isDigest(reference) && !TAG.test(reference))
      throw new Refusal(400, "TAG_INVALID", `"${reference}" is no tag.`);
    for (const { digest, isManifest, isForeign } of namedBy(bytes)) {
      if (isForeign || (await this.store.size(digest)) !== undefined) continue;
      throw new Refusal(
        400,
        isManifest ? "MANIFEST_UNKNOWN" : "MANIFEST_BLOB_UNKNOWN",
        `The manifest names ${digest}, which was not pushed.`,
      );
    }
    const digest = await this.store.keepManifest(bytes);
    if (!isDigest(reference)) {
      await this.#refer(`${OWN_NAME}/${repository}`, reference, digest);
    }
    return new Response(null, {
      status: 201,
      headers: { location: `/v2/${path}/manifests/${digest}`, "docker-content-digest": digest },
    });
  }

  // Blobs

  async #blob(method: string, repository: string, digest: string, headers: Headers): Promise<Response> {
    if (!isDigest(digest)) throw new Refusal(400, "DIGEST_INVALID", `"${digest}" is no SHA-256 digest.`);
    if (method !== "GET" && method !== "HEAD") throw unsupported(method);
    await this.#coming.get(digest);
    let size = await this.store.size(digest);
    const common = { "content-type": "application/octet-stream", "docker-content-digest": digest };
    // Whoever pushes asks so what is here already; what is elsewhere does not count.
    if (method === "HEAD") {
      if (size === undefined) throw blobUnknown(digest);
      return new Response(null, { headers: { ...common, "content-length": String(size), "accept-ranges": "bytes" } });
    }
    const wanted = headers.get("range");
    if (size === undefined) {
      const coming = await this.#fetchBlob(repository, digest);
      if (!coming) throw blobUnknown(digest);
      if (wanted === null) {
        const length = coming.size === undefined ? {} : { "content-length": String(coming.size) };
        return new Response(coming.body as ReadableStream<Uint8Array<ArrayBuffer>>, {
          headers: { ...common, ...length },
        });
      }
      for (const reader = coming.body.getReader(); !(await reader.read()).done;);
      size = await this.store.size(digest);
      if (size === undefined) throw blobUnknown(digest);
    }
    const range = rangeOf(wanted, size);
    if (range === "unsatisfiable") {
      return new Response(null, { status: 416, headers: { "content-range": `bytes */${size}` } });
    }
    const { from, to } = range ?? { from: 0, to: size };
    const body = (await this.store.read(digest, size, from, to)) as ReadableStream<Uint8Array<ArrayBuffer>>;
    return new Response(body, {
      status: range ? 206 : 200,
      headers: {
        ...common,
        "content-length": String(to - from),
        "accept-ranges": "bytes",
        ...(range ? { "content-range": `bytes ${from}-${to - 1}/${size}` } : {}),
      },
    });
  }

  /** Begins to fetch a blob: what is read comes from outside, and is in the cache afterwards. */
  async #fetchBlob(
    repository: string,
    digest: string,
  ): Promise<{ body: ReadableStream<Uint8Array>; size: number | undefined } | undefined> {
    for (const { upstream, name } of this.#upstreams(repository)) {
      const found = await this.#asking(upstream, () => upstream.blob(name, digest));
      if (!found) continue;
      let settle = (): void => undefined;
      this.#coming.set(digest, new Promise((resolve) => (settle = resolve)));
      let told = 0;
      const progress = (bytes: number): void => {
        if (bytes < told + PROGRESS_BYTES && bytes !== found.size) return;
        told = bytes;
        this.tell({ kind: "progress", image: repository, digest, bytes, totalBytes: found.size });
      };
      const ended = (error?: unknown): void => {
        this.#coming.delete(digest);
        settle();
        if (error instanceof DigestError) this.#mismatch(upstream, `the layer ${digest} of ${repository}`);
        else if (error !== undefined)
          this.#failed(`${upstream.name} did not send all of ${repository}: ${reason(error)}.`);
        else this.#changed();
      };
      const unkept = (error: unknown): void =>
        this.#failed(`There is no room to keep ${repository} (${reason(error)}); it is passed on without.`);
      const body = await this.store.keeping(found.body, digest, progress, unkept);
      return { body: watched(body, ended), size: found.size };
    }
    return undefined;
  }

  // Uploads

  async #upload({
    method,
    repository,
    path,
    id,
    url,
    headers,
    body,
  }: {
    method: string;
    repository: string;
    path: string;
    id: string | undefined;
    url: URL;
    headers: Headers;
    body: ReadableStream<Uint8Array>;
  }): Promise<Response> {
    if (id === undefined || id === "") {
      if (method !== "POST") throw unsupported(method);
      const mounted = url.searchParams.get("mount");
      if (mounted !== null && isDigest(mounted) && (await this.store.size(mounted)) !== undefined) {
        return created(path, mounted);
      }
      const [oldest] = this.#uploads;
      if (this.#uploads.size >= MOST_UPLOADS && oldest) await this.#forgetUpload(...oldest);
      const upload = { repository, file: await this.store.create(), digester: new Digester() };
      const number = crypto.randomUUID();
      this.#uploads.set(number, upload);
      const digest = url.searchParams.get("digest");
      if (digest !== null) return this.#endUpload(number, upload, path, digest, body);
      return progressOf(202, path, number, 0);
    }
    const upload = this.#uploads.get(id);
    if (upload?.repository !== repository) throw new Refusal(404, "BLOB_UPLOAD_UNKNOWN", "There is no such upload.");
    switch (method) {
      case "GET":
        return progressOf(204, path, id, upload.file.size);
      case "PATCH": {
        const from = /^(?:bytes[ =])?(\d+)-/.exec(headers.get("content-range") ?? "")?.[1];
        if (from !== undefined && Number(from) !== upload.file.size) {
          const { headers: where } = progressOf(416, path, id, upload.file.size);
          return new Response(null, { status: 416, headers: where });
        }
        await this.#append(id, upload, body);
        return progressOf(202, path, id, upload.file.size);
      }
      case "PUT":
        return this.#endUpload(id, upload, path, url.searchParams.get("digest") ?? "", body);
      case "DELETE":
        await this.#forgetUpload(id, upload);
        return new Response(null, { status: 204 });
      default:
        throw unsupported(method);
    }
  }

  async #append(id: string, upload: Upload, body: ReadableStream<Uint8Array>): Promise<void> {
    try {
      for (const reader = body.getReader(); ;) {
        const { done, value } = await reader.read();
        if (done) return;
        upload.digester.update(value);
        await upload.file.write(value);
      }
    } catch (error) {
      // A connection that breaks is the client's to try again; what is here of it could be anything.
      await this.#forgetUpload(id, upload);
      throw error;
    }
  }

  async #endUpload(
    id: string,
    upload: Upload,
    path: string,
    digest: string,
    body: ReadableStream<Uint8Array>,
  ): Promise<Response> {
    await this.#append(id, upload, body);
    this.#uploads.delete(id);
    if (!isDigest(digest) || !(await this.store.keep(upload.file, digest, upload.digester.digest()))) {
      throw new Refusal(400, "DIGEST_INVALID", "What was pushed has another digest.");
    }
    this.tell({ kind: "changed" });
    return created(path, digest);
  }

  async #forgetUpload(id: string, { file }: Upload): Promise<void> {
    this.#uploads.delete(id);
    await file.discard();
  }

  // Outside

  /** Who may have an image, and its name there. */
  #upstreams(repository: string): { upstream: Upstream; name: string }[] {
    const slash = repository.indexOf("/");
    const first = repository.slice(0, slash);
    if (slash >= 0 && first.includes(".")) {
      const name = repository.slice(slash + 1);
      return this.routes.filter(({ prefix }) => prefix === first).map(({ upstream }) => ({ upstream, name }));
    }
    return this.routes
      .filter(({ prefix }) => prefix === undefined)
      .map(({ upstream }) => ({ upstream, name: repository }));
  }

  /** Asks a registry; one that cannot be asked is told of, and then has nothing. */
  async #asking<Found>(upstream: Upstream, ask: () => Promise<Found | undefined>): Promise<Found | undefined> {
    try {
      return await ask();
    } catch (error) {
      this.#failed(
        error instanceof DinghyError
          ? error.message
          : `The registry ${upstream.name} cannot be reached: ${reason(error)}.`,
      );
      return undefined;
    }
  }

  #mismatch(upstream: Upstream, what: string): DigestError {
    const message = `${upstream.name} sent contents for ${what} that have another digest; they were refused.`;
    this.#failed(message);
    return new DigestError(message);
  }

  #failed(message: string): void {
    this.tell({ kind: "failed", message });
  }
}

/** What a client takes of what we know; all of that where it does not say. */
function acceptable(accept: string | null): string {
  const known = MANIFEST_TYPES.split(", ").filter((type) => accept?.includes(type));
  return known.length > 0 ? known.join(", ") : MANIFEST_TYPES;
}

const unsupported = (method: string): Refusal => new Refusal(405, "UNSUPPORTED", `${method} is not possible here.`);
const blobUnknown = (digest: string): Refusal =>
  new Refusal(404, "BLOB_UNKNOWN", `${digest} is neither cached nor to be had.`);

function json(status: number, value: unknown): Response {
  const body = new TextEncoder().encode(JSON.stringify(value));
  const headers = { "content-type": "application/json", "content-length": String(body.byteLength) };
  return new Response(body, { status, headers });
}

function refusal(status: number, code: string, message: string): Response {
  return json(status, { errors: [{ code, message }] });
}

function created(path: string, digest: string): Response {
  const headers = { location: `/v2/${path}/blobs/${digest}`, "docker-content-digest": digest };
  return new Response(null, { status: 201, headers });
}

function progressOf(status: number, path: string, id: string, size: number): Response {
  const headers = {
    location: `/v2/${path}/blobs/uploads/${id}`,
    range: `0-${Math.max(size - 1, 0)}`,
    "docker-upload-uuid": id,
  };
  return new Response(null, { status, headers });
}

/** The one range that is asked for (RFC 9110 14.1.2); nothing where the whole is to be sent. */
function rangeOf(text: string | null, size: number): { from: number; to: number } | "unsatisfiable" | undefined {
  const [, first, last] = /^bytes=(\d*)-(\d*)$/.exec(text ?? "") ?? [];
  if (first === undefined || last === undefined || (first === "" && last === "")) return undefined;
  const from = first === "" ? Math.max(size - Number(last), 0) : Number(first);
  const to = first === "" || last === "" ? size : Math.min(Number(last) + 1, size);
  return from < to ? { from, to } : "unsatisfiable";
}

/** The same stream; `ended` is told once how it ends: with an error, or none where it was read whole or not wanted. */
function watched(stream: ReadableStream<Uint8Array>, ended: (error?: unknown) => void): ReadableStream<Uint8Array> {
  const reader = stream.getReader();
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          const { done, value } = await reader.read();
          if (!done) {
            controller.enqueue(value);
            return;
          }
          controller.close();
          ended();
        } catch (error) {
          ended(error);
          throw error;
        }
      },
      async cancel(why) {
        await reader.cancel(why);
        ended();
      },
    },
    { highWaterMark: 0 },
  );
}
