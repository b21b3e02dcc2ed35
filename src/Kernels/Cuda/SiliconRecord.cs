using System.Text.Json;
using Bellman.Kernels.Cuda.Libraries;

namespace Bellman.Kernels.Cuda;

/// <summary>What the built-in ledger, perf/kernels.lock, says of kernels that cards have run: the simulator has run all of them, and is no card.</summary>
/// <param name="Kernels">Kernels of this build.</param>
/// <param name="Unseen">Those that no card has run as they are now, with results that agree.</param>
public sealed record SiliconRecord(int Kernels, int Unseen)
{
    /// <summary>How a card is checked.</summary>
    public const string Check = "perf/gpu.sh makes the suite, bellman-gpu/Bellman.Gpu.Perf runs it on the card";

    /// <summary>That of this build.</summary>
    public static SiliconRecord BuiltIn { get; } = Of(ProductRule.BuiltInLedger());

    /// <summary>What to say before a card is taken that nobody named; null where cards have run all kernels.</summary>
    internal string? Warning(string card) => Unseen == 0 ? null
        : $"{Unseen} of {Kernels} CUDA kernels of this build have never run on a card, only in the simulator; check {card} before you trust it ({Check}), or take --device cpu";

    internal static SiliconRecord Of(string ledger)
    {
        var seen = new Dictionary<string, bool>();
        using JsonDocument document = JsonDocument.Parse(ledger);
        foreach (JsonElement record in document.RootElement.EnumerateArray())
        {
            string kernel = record.GetProperty("kernel").GetString()!;
            if (kernel != ProductRule.Library) seen[kernel] = seen.GetValueOrDefault(kernel, true) && record.GetProperty("silicon").GetBoolean();
        }
        return new SiliconRecord(seen.Count, seen.Values.Count(x => !x));
    }
}
