using Bellman.Kernels;

namespace Bellman.Training.Recipes;

/// <summary>A recipe is wrong. All problems that could be found are told together, each with its line and remedy.</summary>
public sealed class RecipeException : BellmanException
{
    /// <summary>Creates an error from everything that is wrong with one recipe.</summary>
    /// <param name="source">File name, or another word for where the text came from.</param>
    /// <param name="problems">At least one problem, each a sentence part without full stop.</param>
    public RecipeException(string source, IReadOnlyList<string> problems)
        : base(problems.Count == 1 ? $"{source}: {problems[0]}." : $"{source}: {problems.Count} problems: {string.Join("; ", problems)}.") => Problems = problems;

    /// <summary>The problems one by one, for a list on a terminal.</summary>
    public IReadOnlyList<string> Problems { get; }
}
