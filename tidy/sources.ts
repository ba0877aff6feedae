/** Our own files as text, and the few questions about them that the tidy tests ask. No parser: our style is plain. */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize, relative } from 'node:path';

export const root = join(import.meta.dirname, '..');

export interface Source {
  /** From the root of the project, `/` between the parts. */
  path: string;
  text: string;
}

export interface Import {
  line: number;
  /** As written. */
  specifier: string;
  /** Path from the root of the project, for a relative import. */
  target: string | undefined;
}

const skipped = new Set(['node_modules', 'build', '.git', 'testdata', 'tmp']);

/** All files below the root whose name matches, generated and fetched ones left out. */
export function sources(name: RegExp): Source[] {
  const walk = (folder: string): string[] =>
    readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
      const path = join(folder, entry.name);
      if (entry.isDirectory()) return skipped.has(entry.name) ? [] : walk(path);
      return entry.isFile() && name.test(entry.name) ? [path] : [];
    });
  return walk(root)
    .sort()
    .map((path) => ({ path: relative(root, path), text: readFileSync(path, 'utf8') }));
}

export const roomOf = (path: string): string => path.split('/')[0] ?? '';
export const isTest = (path: string): boolean =>
  /\.(test|lab|long|guest|bench)\.ts$/.test(path) || roomOf(path) === 'tidy';
export const isGenerated = (source: Source): boolean =>
  /generated/.test(source.path) || /^(\/\*|\/\/|#).*\bgenerated\b.*\b(by|from)\b/im.test(source.text.slice(0, 300));

const importForms = [
  /^\s*(?:import|export)\b[^'";]*?\bfrom\s*['"]([^'"]+)['"]/gm,
  /^\s*import\s*['"]([^'"]+)['"]/gm,
  /\b(?:import|require)\(\s*['"]([^'"]+)['"]/gm,
];

export function importsOf({ path, text }: Source): Import[] {
  const code = withoutComments(text);
  return importForms.flatMap((form) =>
    [...code.matchAll(form)].map((match) => {
      const specifier = match[1] ?? '';
      return {
        line: code.slice(0, match.index + match[0].length).split('\n').length,
        specifier,
        target: specifier.startsWith('.') ? normalize(join(dirname(path), specifier)) : undefined,
      };
    }),
  );
}

/** Blanked, so that positions and line numbers stay; a `//` inside a string (an address) is left alone. */
export function withoutComments(text: string): string {
  const blank = (comment: string) => comment.replace(/[^\n]/g, ' ');
  return text.replace(/\/\*[\s\S]*?\*\//g, blank).replace(/(^|[\s;{}(,])\/\/.*$/gm, blank);
}

/** Every place where the pattern occurs, as `path:line: text`. */
export function occurrences({ path, text }: Source, pattern: RegExp): string[] {
  return text.split('\n').flatMap((line, at) => (pattern.test(line) ? [`${path}:${at + 1}: ${line.trim()}`] : []));
}
