/** Which folder the guest was given last, kept in this browser: only the browser can keep what stands for a folder. */

/** A folder, and what the guest may do in it. */
export interface RememberedFolder {
  folder: FileSystemDirectoryHandle;
  mode: "read" | "readwrite";
  /** Whether it is the browser's own, for which nobody is asked. */
  isPrivate: boolean;
}

const DATABASE = "dinghy";
const STORE = "folders";
const KEY = "host";

/** What the types of TypeScript lack. */
interface WithPermission {
  queryPermission?(options: { mode: "read" | "readwrite" }): Promise<PermissionState>;
  requestPermission?(options: { mode: "read" | "readwrite" }): Promise<PermissionState>;
}

/** Whether the page may use a folder as it did, without asking the user. */
export async function isGranted({ folder, mode, isPrivate }: RememberedFolder): Promise<boolean> {
  return isPrivate || (await (folder as WithPermission).queryPermission?.({ mode })) === "granted";
}

/** Asks the user to let the page use a folder as it did. Must come of something that the user has pressed. */
export async function askFor({ folder, mode }: RememberedFolder): Promise<boolean> {
  return (await (folder as WithPermission).requestPermission?.({ mode })) === "granted";
}

/** Remembers a folder in place of the last one. */
export async function remember(folder: RememberedFolder): Promise<void> {
  await inStore("readwrite", (store) => store.put(folder, KEY));
}

/** The folder that was remembered last, if there is one. */
export async function recall(): Promise<RememberedFolder | undefined> {
  return (await inStore("readonly", (store) => store.get(KEY))) as RememberedFolder | undefined;
}

/** Does something in the store; resolves to what came of it when it is durable. */
async function inStore<T>(mode: IDBTransactionMode, act: (store: IDBObjectStore) => IDBRequest<T>): Promise<T> {
  const opening = indexedDB.open(DATABASE, 1);
  opening.onupgradeneeded = () => opening.result.createObjectStore(STORE);
  const database = await outcome(opening);
  try {
    const transaction = database.transaction(STORE, mode);
    const request = act(transaction.objectStore(STORE));
    await new Promise<void>((resolve, reject) => {
      transaction.oncomplete = () => resolve();
      transaction.onabort = () => reject(transaction.error ?? new Error("the browser could not keep it"));
    });
    return request.result;
  } finally {
    database.close();
  }
}

function outcome<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error ?? new Error("the browser keeps nothing"));
  });
}
