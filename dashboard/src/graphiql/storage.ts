import type { GraphiQLProps } from 'graphiql';

// GraphiQL stores every editor's text: variables hold passwords, headers hold tokens, responses hold both. Any script on
// this origin can read localStorage, and so can the next person at this computer. So the default is memory, which ends
// with the page, and only what is known to be harmless outlives it.
const lasting = new Set(
  ['theme', 'visiblePlugin', 'docExplorerFlex', 'editorFlex', 'secondaryEditorFlex'].map((key) => `graphiql:${key}`),
);

const memory = new Map<string, string>();

export const storage: NonNullable<GraphiQLProps['storage']> = {
  get length() {
    return memory.size + [...lasting].filter((key) => localStorage.getItem(key) !== null).length;
  },
  getItem: (key) => (lasting.has(key) ? localStorage.getItem(key) : (memory.get(key) ?? null)),
  setItem(key, value) {
    if (lasting.has(key)) localStorage.setItem(key, value);
    else memory.set(key, value);
  },
  removeItem(key) {
    if (lasting.has(key)) localStorage.removeItem(key);
    else memory.delete(key);
  },
  clear() {
    memory.clear();
    for (const key of lasting) localStorage.removeItem(key);
  },
};
