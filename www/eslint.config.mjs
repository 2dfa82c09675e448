import eslint from "@eslint/js";
import { defineConfig, globalIgnores } from "eslint/config";
import tseslint from "typescript-eslint";

export default defineConfig(
  globalIgnores(["dist", "lib", "pkg", "e2e/artifacts"]),
  eslint.configs.recommended,
  {
    files: ["**/*.ts"],
    extends: [tseslint.configs.strictTypeChecked, tseslint.configs.stylisticTypeChecked],
    languageOptions: {
      parserOptions: {
        project: ["./tsconfig.lib.json", "./tsconfig.json"],
        tsconfigRootDir: import.meta.dirname,
      },
    },
    rules: {
      "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true }],
      "@typescript-eslint/no-confusing-void-expression": ["error", { ignoreArrowShorthand: true }],
      "@typescript-eslint/consistent-type-definitions": "off",
    },
  },
  {
    files: ["**/*.mjs", "public/**/*.js"],
    languageOptions: {
      globals: Object.fromEntries(
        [
          "AbortSignal",
          "Blob",
          "DecompressionStream",
          "Headers",
          "Response",
          "CloseEvent",
          "DOMException",
          "Event",
          "EventTarget",
          "TransformStream",
          "AbortController",
          "ReadableStream",
          "WebSocket",
          "crypto",
          "getComputedStyle",
          "indexedDB",
          "localStorage",
          "MessageEvent",
          "location",
          "navigator",
          "URL",
          "WebAssembly",
          "clearTimeout",
          "console",
          "fetch",
          "performance",
          "process",
          "self",
          "setTimeout",
          "document",
          "Buffer",
          "MessageChannel",
          "TextEncoder",
          "TextDecoder",
          "structuredClone",
          "window",
          "crossOriginIsolated",
          "navigator",
          "FileReader",
        ].map((name) => [name, "readonly"]),
      ),
    },
  },
);
