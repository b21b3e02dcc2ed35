using Bellman.Kernels;
using Bellman.Kernels.Ops.Sample;
using BenchmarkDotNet.Attributes;

namespace Bellman.Perf.Ops;

/// <summary>Benchmarks of <see cref="Sample"/> on 16 rows of logits.</summary>
public class SamplePerf : OpPerf
{
    private const int Batch = 16;

    private Tensor _logits, _ids, _logProbs, _greedyRows, _plainRows, _truncatedRows;

    /// <inheritdoc/>
    public override OpWork WorkOf(string benchmark) => new(0, Floats((double)Batch * Shape.V));

    /// <summary>The largest logit.</summary>
    [Benchmark]
    public void Greedy() => Next(_greedyRows);

    /// <summary>From the whole distribution.</summary>
    [Benchmark]
    public void Plain() => Next(_plainRows);

    /// <summary>From the 50 best, and of these from those that hold nine tenths.</summary>
    [Benchmark]
    public void Truncated() => Next(_truncatedRows);

    private readonly SampleRow[] _greedy = Settings(0, 0, 1), _plain = Settings(1, 0, 1), _truncated = Settings(0.7f, 50, 0.9f);

    private static SampleRow[] Settings(float temperature, int topK, float topP) =>
        [.. Enumerable.Range(0, Batch).Select(i => new SampleRow(temperature, topK, topP, Seed: 1, Stream: (ulong)i, Position: 7))];

    /// <inheritdoc/>
    protected override void Make()
    {
        (_logits, _ids, _logProbs) = (Normal(Batch, Shape.V, 2), Device.Cpu.Create(DType.I32, Batch, 1), Zero(Batch, 1));
        (_greedyRows, _plainRows, _truncatedRows) = (Upload(_greedy), Upload(_plain), Upload(_truncated));
    }

    /// <inheritdoc/>
    protected override void Check()
    {
        foreach (SampleRow[] settings in (ReadOnlySpan<SampleRow[]>)[_greedy, _plain, _truncated])
        {
            Next(Upload(settings));
            ReadOnlySpan<int> ids = _ids.AsSpan<int>();
            ReadOnlySpan<float> logProbs = _logProbs.AsSpan<float>();
            for (int i = 0; i < Batch; i++)
            {
                (int id, double logProb, double margin) = SampleReference.Next(_logits.Row<float>(i), settings[i]);
                // So close to the border of two ids that float32 may choose the other one.
                if (margin < 1e-5) continue;
                if (id != ids[i] || !(Math.Abs(logProb - logProbs[i]) < 1e-4))
                    throw new BellmanException($"Sample: row {i} with {settings[i]}: expected id {id} of log-prob {logProb:G6}, received {ids[i]} of {logProbs[i]:G6}.");
            }
        }
    }

    private void Next(Tensor rows) => Sample.Next(_logits, rows, _ids, _logProbs);

    private static Tensor Upload(SampleRow[] settings)
    {
        Tensor rows = Device.Cpu.Create(DType.I32, settings.Length, SampleRow.Words);
        for (int i = 0; i < settings.Length; i++) settings[i].Write(i, rows.Row<int>(i));
        return rows;
    }
}
