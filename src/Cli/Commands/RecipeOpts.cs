using System.CommandLine;
using Bellman.Kernels;
using Bellman.Training.Recipes;

namespace Bellman.Cli.Commands;

/// <summary>The arguments of commands that read a recipe.</summary>
internal sealed class RecipeOpts
{
    public RecipeOpts(bool isRequired) => Path = new Argument<string?>("RECIPE") { Description = "Recipe (YAML); docs/recipes.md lists its keys.", Arity = isRequired ? ArgumentArity.ExactlyOne : ArgumentArity.ZeroOrOne };

    public Argument<string?> Path { get; }

    public Option<string[]> Set { get; } = new("--set")
    {
        HelpName = "KEY=VALUE", Description = "Overrides a key of the recipe; may be given several times.", Arity = ArgumentArity.OneOrMore, AllowMultipleArgumentsPerToken = true, DefaultValueFactory = _ => [],
    };

    public Option<string?> Device { get; } = Opt.OptionalChoice("--device", DeviceSelection.Names, "Where to compute; the same as --set device=….");

    public void AddTo(Command command)
    {
        command.Arguments.Add(Path);
        command.Add(Set, Device);
    }

    /// <summary>All assignments to keys; <paramref name="more"/> are those of other options.</summary>
    public string[] Overrides(ParseResult parsed, params ReadOnlySpan<string> more) =>
        [.. parsed.GetValue(Set)!, .. parsed.GetValue(Device) is { } device ? [$"device={device}"] : Array.Empty<string>(), .. more];

    /// <summary>Loads the recipe; <paramref name="more"/> are overrides from other options.</summary>
    public Recipe Read(ParseResult parsed, params ReadOnlySpan<string> more) => Recipe.Load(parsed.GetValue(Path)!, Overrides(parsed, more));
}
