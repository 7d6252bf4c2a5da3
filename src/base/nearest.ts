/**
 * "Did you mean": finds the known word nearest to a mistyped one, by edit distance with transpositions
 * (optimal string alignment). Cost: the product of both lengths.
 */

/** Number of edits (insert, delete, replace, transpose neighbours) that turn one word into the other. */
export function editDistance(from: string, to: string): number {
  const width = to.length + 1;
  const rows = new Uint16Array((from.length + 1) * width);
  for (let j = 0; j < width; j++) rows[j] = j;
  for (let i = 1; i <= from.length; i++) {
    rows[i * width] = i;
    for (let j = 1; j < width; j++) {
      const cost = from[i - 1] === to[j - 1] ? 0 : 1;
      const at = i * width + j;
      let best = Math.min(rows[at - width]! + 1, rows[at - 1]! + 1, rows[at - width - 1]! + cost);
      const swapped =
        i > 1 && j > 1 && from[i - 1] === to[j - 2] && from[i - 2] === to[j - 1] && cost === 1;
      if (swapped) best = Math.min(best, rows[at - 2 * width - 2]! + 1);
      rows[at] = best;
    }
  }
  return rows[rows.length - 1]!;
}

/** The nearest of `known`, or null if none is near: up to a third of the letters, and at least one, may differ. */
export function nearest(word: string, known: Iterable<string>): string | null {
  if (word.length > 64) return null;
  let best: string | null = null;
  let bestDistance = Math.max(1, Math.floor(word.length / 3)) + 1;
  for (const candidate of known) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase());
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

/** "; did you mean 'list'?", or the empty string if no known word is near. */
export function suggestion(word: string, known: Iterable<string>, prefix = ''): string {
  const found = nearest(word, known);
  return found === null ? '' : `; did you mean '${prefix}${found}'?`;
}
