import { defineConfig } from 'vite';

export default defineConfig({
  base: '/static/',
  build: {
    outDir: '../web/static',
    emptyOutDir: true,
    // Every asset is a file of its own, cached for good under its hashed name.
    assetsInlineLimit: 0,
    // Monaco is one chunk of nearly this size, loaded after the first paint.
    chunkSizeWarningLimit: 3000,
    license: { fileName: 'licenses.md' },
    rolldownOptions: {
      input: ['graphiql.html'],
      // GraphiQL names its icons for screen readers by the functions that draw them.
      output: { keepNames: true },
      // "use client" speaks to server-side rendering, of which there is none.
      checks: { moduleLevelDirective: false },
    },
  },
});
