import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["js/**/*.test.ts"],
    environment: "happy-dom",
    // One page for all files: to make it takes longer than all tests together. What a test leaves on it is cleared.
    setupFiles: ["js/clear.ts"],
    pool: "threads",
    isolate: false,
    restoreMocks: true,
    unstubGlobals: true,
  },
});
