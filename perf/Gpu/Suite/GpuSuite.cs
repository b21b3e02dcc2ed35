using System.Diagnostics;
using System.Text.Json;

namespace Bellman.Perf.Gpu.Suite;

/// <summary>
/// The parent: hands the items to child processes and watches them. A child that says nothing for the time limit is killed and
/// its item has failed; the next child goes on with the item after. The parent itself never touches the card.
/// </summary>
internal sealed class GpuSuite(TextWriter log, Func<ProcessStartInfo> child, TimeSpan limit)
{
    private readonly List<LedgerRecord> _measured = [];

    /// <summary>What was measured.</summary>
    public IReadOnlyList<LedgerRecord> Measured => _measured;

    /// <summary>What the card answered to the probes.</summary>
    public List<ProbeRecord> Answers { get; } = [];

    /// <summary>What failed, with the reason.</summary>
    public List<(string Item, string Why)> Failures { get; } = [];

    public int Passed { get; private set; }

    public int Skipped { get; private set; }

    /// <summary>Registers and local bytes by hash, as the card's assembler chose them.</summary>
    public Dictionary<string, (int Registers, int LocalBytes)> Loaded { get; } = [];

    /// <summary>Does all items, whatever fails.</summary>
    public void Run(IReadOnlyList<string> items)
    {
        for (int next = 0; next < items.Count;)
        {
            int done = RunChild(items, next);
            // A child that dies before its first item would otherwise be started for ever.
            next += Math.Max(1, done);
        }
        log.WriteLine($"{Passed} passed, {Failures.Count} failed, {Skipped} skipped");
        foreach ((string item, string why) in Failures) log.WriteLine($"FAILED {item}: {why}");
    }

    /// <summary>Runs one child from an item on; how many items it finished, the failed one included.</summary>
    private int RunChild(IReadOnlyList<string> items, int first)
    {
        ProcessStartInfo start = child();
        (start.RedirectStandardInput, start.RedirectStandardOutput, start.RedirectStandardError, start.UseShellExecute) = (true, true, true, false);
        using Process process = Process.Start(start) ?? throw new LedgerException($"{start.FileName} could not be started; run the suite from a folder whose programs may run.");
        var errors = new System.Text.StringBuilder();
        process.ErrorDataReceived += (_, line) =>
        {
            lock (errors) errors.Append(errors.Length < 2000 ? line.Data + " | " : "");
        };
        process.BeginErrorReadLine();
        // The child reads when it is ready; a list longer than a pipe must not block here.
        _ = Task.Run(() => Feed(process, items, first));
        int done = 0;
        string current = items[first];
        bool finished = false;
        while (!finished)
        {
            Task<string?> reading = process.StandardOutput.ReadLineAsync();
            if (!reading.Wait(limit))
            {
                process.Kill(entireProcessTree: true);
                process.WaitForExit();
                Fail(current, $"nothing happened for {limit.TotalSeconds:F0} s; the process was ended");
                return done + 1;
            }
            if (reading.Result is not string line) break;
            string[] parts = line.Split(' ', 2);
            string text = parts.Length > 1 ? parts[1] : "";
            switch (parts[0])
            {
                case WorkerLine.Begin: current = text; break;
                case WorkerLine.Log: log.WriteLine($"    {text}"); break;
                case WorkerLine.Record: Note(text); break;
                case WorkerLine.Answer: Answers.Add(JsonSerializer.Deserialize<ProbeRecord>(text)!); break;
                case WorkerLine.Pass:
                    Passed++;
                    done++;
                    log.WriteLine($"passed  {text}");
                    break;
                case WorkerLine.Skip:
                    Skipped++;
                    done++;
                    log.WriteLine($"skipped {current}: {text}");
                    break;
                case WorkerLine.Fail:
                    Fail(current, text);
                    done++;
                    finished = true;
                    break;
                default: log.WriteLine($"    {line}"); break;
            }
        }
        if (!process.WaitForExit(limit)) process.Kill(entireProcessTree: true);
        // The end is known before the last words are: this waits for them.
        process.WaitForExit();
        if (finished || first + done >= items.Count) return done;
        string said;
        lock (errors) said = errors.ToString();
        Fail(current, $"the process ended with {process.ExitCode}{(said.Length == 0 ? "" : $": {said}")}");
        return done + 1;
    }

    private static void Feed(Process process, IReadOnlyList<string> items, int first)
    {
        try
        {
            for (int i = first; i < items.Count; i++) process.StandardInput.WriteLine(items[i]);
            process.StandardInput.Close();
        }
        catch (Exception error) when (error is IOException or InvalidOperationException)
        {
            // The child has ended; its last line says why.
        }
    }

    private void Fail(string item, string why)
    {
        Failures.Add((item, why));
        log.WriteLine($"FAILED  {item}: {why}");
    }

    private void Note(string text)
    {
        if (text.StartsWith('{'))
        {
            LedgerRecord record = JsonSerializer.Deserialize<LedgerRecord>(text)!;
            _measured.Add(record);
            log.WriteLine($"    {record.Kernel}: {record.Microseconds} µs{(record.Tflops is null ? "" : $", {record.Tflops} TFLOP/s")}{(record.Gbps is null ? "" : $", {record.Gbps} GB/s")}, share of peak {record.ShareOfPeak}");
            return;
        }
        string[] words = text.Split(' ');
        Loaded[words[0]] = (int.Parse(words[1], System.Globalization.CultureInfo.InvariantCulture), int.Parse(words[2], System.Globalization.CultureInfo.InvariantCulture));
    }

    /// <summary>The ledger after this run: measured records replace older ones, the rest is as <see cref="Ledger.Renew"/> has it.</summary>
    public List<LedgerRecord> Rewrite(IReadOnlyList<LedgerRecord> now, IReadOnlyList<LedgerRecord> before)
    {
        Dictionary<(string, string), LedgerRecord> measured = _measured.ToDictionary(x => x.Key);
        LedgerRecord Newest(LedgerRecord known) => measured.Remove(known.Key, out LedgerRecord? record) ? record
            : known.Registers is null && Loaded.TryGetValue(known.Ptx, out var facts) ? known with { Registers = facts.Registers, LocalBytes = facts.LocalBytes } : known;
        List<LedgerRecord> records = [.. Ledger.Renew(now, before).Select(Newest)];
        // What is left is the library's, measured for the first time.
        records.AddRange(measured.Values);
        return records;
    }
}
