// Prometheus text (https://prometheus.io/docs/instrumenting/exposition_formats/), and quantiles out of its histograms.

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;

/** Samples by name: `{labels, value}` each. */
export function parseMetrics(text) {
  const samples = new Map();
  for (const line of text.split("\n")) {
    const [, name, told = "", value] = LINE.exec(line) ?? [];
    if (!name) continue;
    const labels = Object.fromEntries([...told.matchAll(LABEL)].map(([, label, held]) => [label, held]));
    if (!samples.has(name)) samples.set(name, []);
    samples.get(name).push({ labels, value: Number(value.replace("Inf", "Infinity")) });
  }
  return samples;
}

/** A histogram's cumulative counts by upper bound, over all label sets: of the first of `names` that is there. */
export function bucketsOf(samples, names) {
  const found = names.map((name) => samples.get(`${name}_bucket`)).find(Boolean);
  if (!found) return null;
  const counts = new Map();
  for (const { labels, value } of found) {
    const bound = labels.le === "+Inf" ? Infinity : Number(labels.le);
    counts.set(bound, (counts.get(bound) ?? 0) + value);
  }
  return counts;
}

/**
 * The quantile of what was observed between two looks at a histogram, as `histogram_quantile` estimates it: linear within
 * a bucket. null where nothing was observed.
 */
export function quantile(share, now, before = new Map()) {
  const bounds = [...now.keys()].sort((one, other) => one - other);
  const counts = bounds.map((bound) => now.get(bound) - (before.get(bound) ?? 0));
  const rank = share * counts.at(-1);
  if (!(rank > 0)) return null;
  const at = counts.findIndex((count) => count >= rank);
  const low = at ? bounds[at - 1] : 0;
  if (bounds[at] === Infinity) return low;
  const below = at ? counts[at - 1] : 0;
  return low + ((bounds[at] - low) * (rank - below)) / (counts[at] - below);
}
