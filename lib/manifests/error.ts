/** A manifest cannot be read or applied. `problems` has one line for each object that is at fault. */
export class ManifestError extends Error {
  override readonly name = 'ManifestError';
  readonly code = 'Invalid';
  readonly problems: readonly string[];
  constructor(problems: readonly string[], options?: ErrorOptions) {
    super(problems.join('\n'), options);
    this.problems = problems;
  }
}
