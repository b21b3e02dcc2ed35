using System.CommandLine;
using Bellman.Kernels;

namespace Bellman.Cli.Commands;

/// <summary>The option of commands that run models without training them.</summary>
internal static class WeightsOpt
{
    private const string Auto = "auto";

    /// <summary>The formats by their names on the command line.</summary>
    public static IReadOnlyDictionary<string, WeightFormat> Formats { get; } = new Dictionary<string, WeightFormat>
    {
        ["f32"] = WeightFormat.F32, ["bf16"] = WeightFormat.BF16, ["int8"] = WeightFormat.Int8,
    };

    public static Option<string> Create() =>
        Opt.Choice("--weights", [Auto, .. Formats.Keys], Auto, "How models lie in memory. auto: as they are stored; int8: a quarter of f32 and faster, results change a little.");

    /// <summary>The format asked for; null for what the model's folder suggests.</summary>
    public static WeightFormat? Read(ParseResult parsed, Option<string> option) => parsed.GetValue(option) is { } name && name != Auto ? Formats[name] : null;
}
