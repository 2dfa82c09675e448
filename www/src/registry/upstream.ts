/** Registries outside that the cache asks: OCI distribution with its tokens, and static OCI layouts. */

import { DinghyError } from "../options.js";
import { isDigest } from "./digest.js";
import { collect } from "../bytes.js";
import { MOST_MANIFEST_BYTES, namedBy } from "./store.js";

/** Makes a request outside. It may follow redirects, and does not send `authorization` to another origin when it does. */
export type Fetch = (url: URL, headers: Record<string, string>) => Promise<Response>;

/** A registry. Nothing that it gives is believed yet. */
export interface Upstream {
  /** How the user named it. */
  readonly name: string;
  /** A manifest by its tag or digest, or nothing where it is not there. */
  manifest(repository: string, reference: string, accept: string): Promise<Uint8Array | undefined>;
  /** A blob, or nothing where it is not there. */
  blob(repository: string, digest: string): Promise<{ body: ReadableStream<Uint8Array>; size?: number } | undefined>;
}

/** Which images a registry is asked for. */
export interface Route {
  /** The first part of the images' names, or nothing for names without a registry's. */
  prefix: string | undefined;
  upstream: Upstream;
}

/**
 * Reads `[PREFIX=]URL`: a registry, or with `oci+` before the URL an OCI layout in a folder of a web server.
 *
 * @throws DinghyError that says what is wrong
 */
export function checkRegistry(text: string): { prefix: string | undefined; isLayout: boolean; url: URL } {
  const [, prefix, layout, address = ""] = /^(?:([a-z0-9.-]+)=)?(oci\+)?(.*)$/.exec(text) ?? [];
  if (!/^https?:\/\//.test(address) || !URL.canParse(address)) {
    throw new DinghyError(`"${text}" names no registry; use [PREFIX=]URL, for example https://registry-1.docker.io.`);
  }
  const url = new URL(address.endsWith("/") ? address : `${address}/`);
  return { prefix, isLayout: layout !== undefined, url };
}

/**
 * The way to a registry, as {@link checkRegistry} reads it.
 *
 * @throws DinghyError that says what is wrong
 */
export function routeOf(text: string, fetch: Fetch): Route {
  const { prefix, isLayout, url } = checkRegistry(text);
  return { prefix, upstream: isLayout ? new Layout(text, url, fetch) : new Distribution(text, url, fetch) };
}

/** A registry that speaks the OCI distribution protocol. */
class Distribution implements Upstream {
  /** The `authorization` of each repository. */
  readonly #authorizations = new Map<string, string>();

  constructor(
    readonly name: string,
    private readonly url: URL,
    private readonly fetch: Fetch,
  ) {}

  async manifest(repository: string, reference: string, accept: string): Promise<Uint8Array | undefined> {
    const response = await this.#get(repository, `manifests/${reference}`, { accept });
    return response?.body ? collect(response.body, MOST_MANIFEST_BYTES) : undefined;
  }

  async blob(
    repository: string,
    digest: string,
  ): Promise<{ body: ReadableStream<Uint8Array>; size?: number } | undefined> {
    const response = await this.#get(repository, `blobs/${digest}`, {});
    return response?.body ? { body: response.body, ...sizeOf(response) } : undefined;
  }

  async #get(repository: string, path: string, headers: Record<string, string>): Promise<Response | undefined> {
    const url = new URL(`v2/${repository}/${path}`, this.url);
    const ask = (): Promise<Response> => {
      const authorization = this.#authorizations.get(repository);
      return this.fetch(url, { ...headers, ...(authorization === undefined ? {} : { authorization }) });
    };
    let response = await ask();
    if (response.status === 401) {
      await response.body?.cancel();
      const token = await this.#token(repository, response.headers.get("www-authenticate") ?? "");
      this.#authorizations.set(repository, `Bearer ${token}`);
      response = await ask();
    }
    if (response.ok) return response;
    await response.body?.cancel();
    // A registry that asks for a name does not tell whether the image is there.
    if (response.status === 404 || response.status === 401 || response.status === 403) return undefined;
    throw new DinghyError(`The registry ${this.name} answered ${response.status} for ${repository}.`);
  }

  /** Gets a token that lets anybody pull (the distribution project's "Token Authentication"). */
  async #token(repository: string, challenge: string): Promise<string> {
    const [, scheme = "", rest = ""] = /^\s*(\S+)\s+(.*)$/.exec(challenge) ?? [];
    const fields = new Map([...rest.matchAll(/(\w+)="([^"]*)"/g)].map(([, name = "", value = ""]) => [name, value]));
    const realm = fields.get("realm") ?? "";
    if (scheme.toLowerCase() !== "bearer" || !/^https?:\/\//.test(realm) || !URL.canParse(realm)) {
      throw new DinghyError(`The registry ${this.name} wants a login that dinghy does not have.`);
    }
    const url = new URL(realm);
    const service = fields.get("service");
    if (service !== undefined) url.searchParams.set("service", service);
    url.searchParams.set("scope", fields.get("scope") ?? `repository:${repository}:pull`);
    const response = await this.fetch(url, {});
    if (!response.ok) throw new DinghyError(`The registry ${this.name} gives no token (${response.status}).`);
    const { token, access_token: accessToken } = (await response.json()) as { token?: string; access_token?: string };
    const found = token ?? accessToken;
    if (typeof found !== "string") throw new DinghyError(`The registry ${this.name} gives no token.`);
    return found;
  }
}

/** An OCI image layout (image specification, "Image Layout") on a web server. */
class Layout implements Upstream {
  constructor(
    readonly name: string,
    private readonly url: URL,
    private readonly fetch: Fetch,
  ) {}

  async manifest(repository: string, reference: string): Promise<Uint8Array | undefined> {
    const digest = isDigest(reference) ? reference : await this.#digest(repository, reference);
    const response = digest === undefined ? undefined : await this.#get(`blobs/${digest.replace(":", "/")}`);
    return response?.body ? collect(response.body, MOST_MANIFEST_BYTES) : undefined;
  }

  async blob(
    _repository: string,
    digest: string,
  ): Promise<{ body: ReadableStream<Uint8Array>; size?: number } | undefined> {
    const response = await this.#get(`blobs/${digest.replace(":", "/")}`);
    return response?.body ? { body: response.body, ...sizeOf(response) } : undefined;
  }

  /** The digest that the layout's index gives for a name, or for a tag alone. */
  async #digest(repository: string, tag: string): Promise<string | undefined> {
    const response = await this.#get("index.json");
    if (!response?.body) return undefined;
    const bytes = await collect(response.body, MOST_MANIFEST_BYTES);
    const { manifests } = JSON.parse(new TextDecoder().decode(bytes)) as {
      manifests?: { annotations?: Record<string, string> }[];
    };
    const names = manifests?.map(({ annotations }) => annotations?.["org.opencontainers.image.ref.name"]) ?? [];
    const short = repository.replace(/^library\//, "");
    const wanted = [`${repository}:${tag}`, `${short}:${tag}`, tag];
    const place = wanted.map((name) => names.indexOf(name)).find((place) => place >= 0);
    return place === undefined ? undefined : namedBy(bytes)[place]?.digest;
  }

  async #get(path: string): Promise<Response | undefined> {
    const response = await this.fetch(new URL(path, this.url), {});
    if (response.ok) return response;
    await response.body?.cancel();
    if (response.status === 404 || response.status === 403) return undefined;
    throw new DinghyError(`${this.name} answered ${response.status} for ${path}.`);
  }
}

function sizeOf({ headers }: Response): { size?: number } {
  const length = headers.get("content-length");
  // What is compressed on the way has another length there.
  const isPlain = (headers.get("content-encoding") ?? "identity") === "identity";
  return isPlain && length !== null && /^\d{1,15}$/.test(length) ? { size: Number(length) } : {};
}
