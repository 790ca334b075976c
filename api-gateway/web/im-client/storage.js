// Where a client keeps what must outlive the page: its session, what it has not sent yet, and the
// last messages. Keys are texts in order, values are what structuredClone takes. `write` is all or
// nothing.

export class MemoryStorage {
  #values = new Map();

  async get(key) {
    return structuredClone(this.#values.get(key));
  }

  async list(prefix) {
    const keys = [...this.#values.keys()].filter((key) => key.startsWith(prefix)).sort();
    return keys.map((key) => [key, structuredClone(this.#values.get(key))]);
  }

  async write(changes) {
    for (const [key, value] of changes) {
      if (value === undefined) this.#values.delete(key);
      else this.#values.set(key, structuredClone(value));
    }
  }
}

const STORE = "values";

export class IndexedDbStorage {
  #database;

  constructor(database) {
    this.#database = database;
  }

  static async open(name) {
    const request = indexedDB.open(name, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE);
    return new IndexedDbStorage(await outcome(request));
  }

  get(key) {
    return outcome(this.#store("readonly").get(key));
  }

  async list(prefix) {
    const store = this.#store("readonly");
    const range = IDBKeyRange.bound(prefix, `${prefix}\uffff`);
    const [keys, values] = await Promise.all([
      outcome(store.getAllKeys(range)),
      outcome(store.getAll(range)),
    ]);
    return keys.map((key, at) => [key, values[at]]);
  }

  write(changes) {
    const store = this.#store("readwrite");
    for (const [key, value] of changes) {
      if (value === undefined) store.delete(key);
      else store.put(value, key);
    }
    return new Promise((resolve, reject) => {
      store.transaction.oncomplete = () => resolve();
      store.transaction.onerror = () => reject(store.transaction.error);
      store.transaction.onabort = () => reject(store.transaction.error);
    });
  }

  #store(mode) {
    // "strict": what was typed and sent is on the disk when the promise is kept.
    const options = mode === "readwrite" ? { durability: "strict" } : {};
    return this.#database.transaction(STORE, mode, options).objectStore(STORE);
  }
}

/** IndexedDB, or memory where the browser has none (a private window may refuse it). */
export async function openStorage(name = "im-client") {
  if (typeof indexedDB === "undefined") return new MemoryStorage();
  try {
    return await IndexedDbStorage.open(name);
  } catch {
    return new MemoryStorage();
  }
}

function outcome(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
