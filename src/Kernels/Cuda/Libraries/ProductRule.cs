using System.Reflection;
using System.Text.Json;

namespace Bellman.Kernels.Cuda.Libraries;

/// <summary>
/// Which products go to the library, where there is one: those whose own kernel the ledger does not show to be as fast. The ledger, perf/kernels.lock, is
/// built into this assembly; what it says of another card does not count.
/// </summary>
internal static class ProductRule
{
    /// <summary>Name under which the ledger has the library's times.</summary>
    public const string Library = "cublaslt";

    // Noise of a measurement.
    private const double Slack = 1.01;

    /// <summary>Products with fewer rows always take own kernels: there a row's result must not depend on how many others there are.</summary>
    public const int FewestRows = 256;

    /// <summary>The built-in ledger's text.</summary>
    public static string BuiltInLedger()
    {
        using Stream? stream = Assembly.GetExecutingAssembly().GetManifestResourceStream("kernels.lock");
        return stream is null ? "[]" : new StreamReader(stream).ReadToEnd();
    }

    /// <summary>Own kernels that are no slower than the library at any shape where a ledger has both, on a card.</summary>
    public static HashSet<string> OwnKernels(string ledger, string card)
    {
        var library = new Dictionary<string, double>();
        var own = new List<(string Kernel, string Shape, double Microseconds)>();
        using JsonDocument document = JsonDocument.Parse(ledger);
        foreach (JsonElement record in document.RootElement.EnumerateArray())
        {
            if (!record.GetProperty("silicon").GetBoolean() || record.GetProperty("card").GetString() != card) continue;
            if (record.GetProperty("microseconds") is not { ValueKind: JsonValueKind.Number } time) continue;
            string kernel = record.GetProperty("kernel").GetString()!, shape = record.GetProperty("shape").GetString()!;
            if (kernel == Library) library[shape] = time.GetDouble();
            else own.Add((kernel, shape, time.GetDouble()));
        }
        return [.. own.Where(x => library.ContainsKey(x.Shape)).GroupBy(x => x.Kernel).Where(x => x.All(y => y.Microseconds <= Slack * library[y.Shape])).Select(x => x.Key)];
    }
}
