using Bellman.Kernels.Cpu;
using Bellman.Kernels.Cuda;

namespace Bellman.Kernels.Ops.Sample;

/// <summary>How to choose the next token of one row.</summary>
/// <param name="Temperature">Divides the logits; 0: greedy, ties go to the lowest id.</param>
/// <param name="TopK">Keep the K largest logits (ties: lowest ids); 0: all.</param>
/// <param name="TopP">Of what top-k keeps, keep the smallest set of most probable tokens that holds at least this share; 1: all.</param>
/// <param name="Seed">The run's seed.</param>
/// <param name="Stream">Which sequence of the run.</param>
/// <param name="Position">Which token of the sequence.</param>
public readonly record struct SampleRow(float Temperature, int TopK, float TopP, ulong Seed, ulong Stream, uint Position);

/// <summary>
/// Chooses next tokens from logits, by inverse transform of one uniform number per row. The number is a pure function of
/// (seed, stream, position) (see <see cref="Random.Philox"/>) and rows do not see each other, so a sample depends neither on
/// what else is in the batch nor on the number of threads.
/// </summary>
public static class Sample
{
    /// <summary>Stands for the id of a row that cannot be sampled from.</summary>
    public const int Unusable = -1;

    private const string Op = "Sample.Next";

    /// <summary>Chooses one id per row.</summary>
    /// <param name="logits">[n, V], float32. −∞ means never.</param>
    /// <param name="rows">n settings.</param>
    /// <param name="ids">n, overwritten.</param>
    /// <param name="logProbs">n, overwritten: log-prob of the chosen id under the plain softmax, without temperature and truncation.</param>
    /// <exception cref="ShapeException">Lengths or element types do not fit together.</exception>
    /// <exception cref="DeviceException">No kernel for the device.</exception>
    /// <exception cref="BellmanException">A setting is out of range, or a row's logits hold NaN or +∞ or are all −∞.</exception>
    public static void Next(Tensor logits, ReadOnlySpan<SampleRow> rows, Span<int> ids, Span<float> logProbs) => Next(logits, rows, ids, logProbs, default);

    /// <summary>Chooses one id per setting, each from a row of its own choice: several samples of one state need its logits once.</summary>
    /// <param name="logits">[m, V], float32.</param>
    /// <param name="rows">n settings.</param>
    /// <param name="ids">n, overwritten.</param>
    /// <param name="logProbs">n, overwritten.</param>
    /// <param name="sources">n row numbers; empty for row i to setting i.</param>
    /// <exception cref="ShapeException">Lengths or element types do not fit together, or a row number lies outside.</exception>
    public static void Next(Tensor logits, ReadOnlySpan<SampleRow> rows, Span<int> ids, Span<float> logProbs, ReadOnlySpan<int> sources)
    {
        NextOrUnusable(logits, rows, ids, logProbs, sources);
        // Reported here and not by the worker that met it, so that the first bad row is named whatever ran first.
        int bad = ids.IndexOf(Unusable);
        if (bad >= 0)
            throw new BellmanException($"{Op}: row {bad} holds NaN or +∞ or nothing but −∞; the model's weights or input are damaged.");
    }

    /// <summary>
    /// The same for a caller that goes on without the rows whose logits hold NaN or +∞ or are all −∞: their id is <see cref="Unusable"/>, their log-prob
    /// undefined.
    /// </summary>
    /// <param name="logits">[m, V], float32.</param>
    /// <param name="rows">n settings.</param>
    /// <param name="ids">n, overwritten.</param>
    /// <param name="logProbs">n, overwritten.</param>
    /// <param name="sources">n row numbers; empty for row i to setting i.</param>
    /// <exception cref="ShapeException">Lengths or element types do not fit together, or a row number lies outside.</exception>
    /// <exception cref="DeviceException">No kernel for the device.</exception>
    /// <exception cref="BellmanException">A setting is out of range.</exception>
    public static void NextOrUnusable(Tensor logits, ReadOnlySpan<SampleRow> rows, Span<int> ids, Span<float> logProbs, ReadOnlySpan<int> sources)
    {
        Device device = Contract.DeviceOf(logits, Op, "logits");
        Contract.Is(logits, device, Op, "logits", logits.Rows, logits.Columns);
        int count = sources.IsEmpty ? logits.Rows : sources.Length;
        if (rows.Length != count || ids.Length != count || logProbs.Length != count || logits.Columns == 0)
            throw new ShapeException(
                $"{Op}: expected settings, ids and log-probs for {count} rows of at least 1 logit, received {rows.Length}, {ids.Length}, {logProbs.Length} for {logits}.");
        foreach (int source in sources)
            if ((uint)source >= (uint)logits.Rows) throw new ShapeException($"{Op}: row {source} asked of {logits}.");
        for (int i = 0; i < rows.Length; i++)
        {
            ref readonly SampleRow row = ref rows[i];
            if (!float.IsFinite(row.Temperature) || row.Temperature < 0 || row.TopK < 0 || !(row.TopP > 0 && row.TopP <= 1))
                throw new BellmanException(
                    $"{Op}: row {i}: expected temperature ≥ 0, top-k ≥ 0 and 0 < top-p ≤ 1, received {row.Temperature}, {row.TopK} and {row.TopP}.");
        }
        switch (device)
        {
            case CpuDevice: SampleCpu.Next(logits, rows, ids, logProbs, sources); break;
            case KernelDevice kernels: SampleCuda.Next(kernels, logits, rows, ids, logProbs, sources); break;
            default: throw Contract.NoKernel(Op, device);
        }
    }
}
