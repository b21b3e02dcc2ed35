using System.Globalization;
using System.Text;
using Bellman.Kernels;

namespace Bellman.Perf.Compare;

/// <summary>Results as Markdown: a function of the results alone.</summary>
internal static class CompareReport
{
    /// <summary>What stands before the tables in a document that holds them.</summary>
    public const string Begin = "<!-- results: written by the command compare; edits are lost -->";

    /// <summary>What stands behind them.</summary>
    public const string End = "<!-- end of results -->";

    /// <summary>All tables.</summary>
    public static string Write(CompareResults results)
    {
        var text = new StringBuilder();
        text.AppendLine(Invariant($"Machine: {results.Machine}."));
        text.AppendLine(results.PeerProgram.Length > 0 ? $"Peer: {results.PeerProgram}." : "Peer: none was found.");
        if (results.Entries.Count > 0)
        {
            string[] dates = [.. results.Entries.Select(x => x.Date).Distinct().Order(StringComparer.Ordinal)], revisions = [.. results.Entries.Select(x => x.Revision).Distinct().Order(StringComparer.Ordinal)];
            text.AppendLine(Invariant($"Measured {(dates.Length == 1 ? dates[0] : $"{dates[0]} to {dates[^1]}")} at {string.Join(", ", revisions)}."));
        }
        Peaks(text, results);
        Compared(text, results, CompareCases.Step, "Training steps", "tokens/s", "of FMA peak", x => x.ShareOfPeak);
        Compared(text, results, CompareCases.Decode, "Decoding", "new tokens/s", "of read rate", x => x.ShareOfRead);
        Compared(text, results, CompareCases.Prompt, "Prompts", "prompt tokens/s", "of FMA peak", x => x.ShareOfPeak);
        Compared(text, results, CompareCases.Gemm, "Matrix products", "GFLOP/s", "of FMA peak", x => x.ShareOfPeak);
        foreach (CompareEntry entry in Of(results, CompareCases.Profile)) Profile(text, entry);
        foreach ((string axis, string words, int[] values) in CompareCases.Axes) Axis(text, results, axis, words, values);
        Threads(text, results);
        return text.ToString();
    }

    /// <summary>A document with the tables between its marks replaced.</summary>
    /// <exception cref="BellmanException">The document has no marks.</exception>
    public static string Replace(string document, string tables)
    {
        int begin = document.IndexOf(Begin, StringComparison.Ordinal), end = document.IndexOf(End, StringComparison.Ordinal);
        if (begin < 0 || end < begin) throw new BellmanException($"The report has no place for results; put the lines '{Begin}' and '{End}' where they belong.");
        return $"{document[..(begin + Begin.Length)]}\n\n{tables.TrimEnd('\n')}\n\n{document[end..]}";
    }

    private static void Peaks(StringBuilder text, CompareResults results)
    {
        if (results.Peaks.Count == 0) return;
        text.AppendLine().AppendLine("| threads | multiply-adds in registers, GFLOP/s | reading memory, GB/s: median (least to most) |").AppendLine("| --: | --: | --: |");
        foreach (MachinePeaks peaks in results.Peaks) text.AppendLine(Invariant($"| {peaks.Threads} | {peaks.Gflops:0} | {Text(Spread.Of(peaks.ReadGbps), "0.0")} |"));
    }

    private static void Compared(StringBuilder text, CompareResults results, string suite, string title, string unit, string limit, Func<Sample, double?> share)
    {
        CompareEntry[] entries = [.. Of(results, suite)];
        if (entries.Length == 0) return;
        Heading(text, title);
        text.AppendLine($"| case | Bellman, {unit} | {limit} | peer, {unit} | Bellman / peer (least to most) | memory, MiB | peer, MiB | Bellman / peer |");
        text.AppendLine("| :-- | --: | --: | --: | --: | --: | --: | --: |");
        foreach (CompareEntry entry in entries)
        {
            Spread rate = Spread.Of(entry.Ours.Select(x => x.Rate)), memory = Spread.Of(entry.Ours.Select(x => x.MemoryMib));
            double[] shares = [.. entry.Ours.Select(share).OfType<double>()];
            text.Append(Invariant($"| {entry.Key[(suite.Length + 1)..].Replace('/', ' ')} | {Number(rate.Median)} | {(shares.Length == 0 ? "" : Percent(Spread.Of(shares).Median))} "));
            if (entry.Peer.Count == 0)
            {
                text.AppendLine(Invariant($"| | | {memory.Median:0} | | |"));
                continue;
            }
            double peerMemory = Spread.Of(entry.Peer.Select(x => x.MemoryMib)).Median;
            text.AppendLine(Invariant($"| {Number(Spread.Of(entry.Peer.Select(x => x.Rate)).Median)} | {Text(Ratios(entry)!.Value, "0.00")} | {memory.Median:0} | {peerMemory:0} | {memory.Median / peerMemory:0.00} |"));
        }
        double[] ratios = [.. entries.Select(Ratios).OfType<Spread>().Select(x => x.Median)], all = [.. entries.Select(x => x.Ours.Select(share).OfType<double>().ToArray()).Where(x => x.Length > 0).Select(x => Spread.Of(x).Median)];
        if (suite == CompareCases.Gemm && all.Length > 0)
            text.AppendLine(Invariant($"| geometric mean | | {Percent(Spread.GeometricMean(all))} | | {(ratios.Length == 0 ? "" : Invariant($"{Spread.GeometricMean(ratios):0.00}"))} | | | |"));
        text.AppendLine().AppendLine($"Such as `bellman {entries[0].Command}`{(entries.FirstOrDefault(x => x.PeerCommand is not null) is { } compared ? $" and `torch_peer.py {compared.PeerCommand}`" : "")}, in turn; {entries[0].Ours.Count} runs of each.");
    }

    private static void Profile(StringBuilder text, CompareEntry entry)
    {
        Heading(text, $"Where a step goes: {entry.Key[(CompareCases.Profile.Length + 1)..].Replace('/', ' ')}");
        text.AppendLine("| part | share of the time | GFLOP/s |").AppendLine("| :-- | --: | --: |");
        foreach (ProfilePart part in entry.Profile) text.AppendLine(Invariant($"| {part.Part} | {Percent(part.Share)} |{(part.Gflops is { } rate ? Invariant($" {rate:0}") : "")} |"));
        double rest = 1 - entry.Profile.Sum(x => x.Share);
        text.AppendLine(Invariant($"| one thread alone | {Percent(Math.Max(0, rest))} | |"));
        text.AppendLine().AppendLine($"`bellman {entry.Command}`");
    }

    private static void Axis(StringBuilder text, CompareResults results, string axis, string words, int[] values)
    {
        CompareEntry[] entries = [.. values.Select(x => results.Find(Invariant($"{CompareCases.Growth}/{axis}/{x}"))).OfType<CompareEntry>()];
        if (entries.Length == 0) return;
        Heading(text, $"Growth with {axis.Replace('-', ' ')}");
        text.AppendLine($"| {words} | tokens/s | GFLOP/s | of FMA peak | memory, MiB |").AppendLine("| --: | --: | --: | --: | --: |");
        foreach (CompareEntry entry in entries)
        {
            Sample middle = Middle(entry);
            text.AppendLine(Invariant($"| {entry.Key[(entry.Key.LastIndexOf('/') + 1)..]} | {Number(middle.Rate)} | {middle.Gflops:0} | {(middle.ShareOfPeak is { } share ? Percent(share) : "")} | {middle.MemoryMib:0} |"));
        }
        text.AppendLine().AppendLine($"Such as `bellman {entries[0].Command}`.");
    }

    private static void Threads(StringBuilder text, CompareResults results)
    {
        string Prefix(string name) => Invariant($"{CompareCases.Growth}/threads-{name}/");
        CompareEntry[][] rows = [.. CompareCases.ThreadCases.Select(name => results.Entries.Where(x => x.Key.StartsWith(Prefix(name), StringComparison.Ordinal)).OrderBy(x => x.Key.Length).ThenBy(x => x.Key, StringComparer.Ordinal).ToArray()).Where(x => x.Length > 1)];
        if (rows.Length == 0) return;
        Heading(text, "Threads");
        text.AppendLine("| case | threads | tokens/s | against one thread | memory, MiB |").AppendLine("| :-- | --: | --: | --: | --: |");
        foreach (CompareEntry[] row in rows)
            foreach (CompareEntry entry in row)
            {
                string[] parts = entry.Key.Split('/');
                Sample middle = Middle(entry);
                text.AppendLine(Invariant($"| {parts[1]["threads-".Length..].Replace('-', ' ')} | {parts[2]} | {Number(middle.Rate)} | {middle.Rate / Middle(row[0]).Rate:0.00} | {middle.MemoryMib:0} |"));
            }
    }

    /// <summary>A suite's entries in the order of its cases; what is no case any more comes last.</summary>
    private static IEnumerable<CompareEntry> Of(CompareResults results, string suite)
    {
        string[] order = [.. CompareCases.All(cores: 1).Select(x => x.Key)];
        return results.Entries.Where(x => x.Key.StartsWith(suite + "/", StringComparison.Ordinal)).OrderBy(x => (uint)Array.IndexOf(order, x.Key));
    }

    private static Spread? Ratios(CompareEntry entry) => Spread.OfRatios([.. entry.Ours.Select(x => x.Rate)], [.. entry.Peer.Select(x => x.Rate)]);

    /// <summary>The run of median speed; of an even number the slower of the two.</summary>
    private static Sample Middle(CompareEntry entry) => entry.Ours.OrderBy(x => x.Rate).ElementAt((entry.Ours.Count - 1) / 2);

    private static void Heading(StringBuilder text, string title) => text.AppendLine().AppendLine($"### {title}").AppendLine();

    private static string Text(Spread spread, string format) => Invariant($"{spread.Median.ToString(format, CultureInfo.InvariantCulture)} ({spread.Least.ToString(format, CultureInfo.InvariantCulture)} to {spread.Most.ToString(format, CultureInfo.InvariantCulture)})");

    private static string Number(double value) => value.ToString(value >= 100 ? "#,0" : "0.0", CultureInfo.InvariantCulture);

    private static string Percent(double share) => share.ToString("0.0 %", CultureInfo.InvariantCulture);

    private static string Invariant(FormattableString text) => FormattableString.Invariant(text);
}
