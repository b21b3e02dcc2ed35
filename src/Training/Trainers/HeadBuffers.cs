using Bellman.Kernels;
using Bellman.Kernels.Ops.LmHead;
using Bellman.Runtime.Models;

namespace Bellman.Training.Trainers;

/// <summary>What a language-model head reads and writes for N rows, taken from a step's arena.</summary>
internal readonly struct HeadBuffers
{
    private HeadBuffers(Arena arena, ModelConfig config, int rows, bool withReference, bool withEntropy)
    {
        Hidden = arena.TakeActivation(rows, config.HiddenSize);
        DHidden = arena.TakeActivation(rows, config.HiddenSize);
        LogProb = arena.Take(rows, 1);
        DLogProb = arena.Take(rows, 1);
        Tensor logSumExp = arena.Take(rows, 1), entropy = withEntropy ? arena.Take(rows, 1) : default;
        if (withReference)
        {
            ReferenceHidden = arena.TakeActivation(rows, config.HiddenSize);
            ReferenceLogProb = arena.Take(rows, 1);
            Kl = arena.Take(rows, 1);
            DKl = arena.Take(rows, 1);
            Output = new LmHeadOutput(LogProb, logSumExp, entropy, ReferenceLogProb, arena.Take(rows, 1), Kl);
        }
        else
        {
            Output = new LmHeadOutput(LogProb, logSumExp, entropy, default, default, default);
        }
    }

    /// <summary>[N, C].</summary>
    public Tensor Hidden { get; }

    /// <summary>[N, C].</summary>
    public Tensor DHidden { get; }

    /// <summary>[N, 1].</summary>
    public Tensor LogProb { get; }

    /// <summary>[N, 1].</summary>
    public Tensor DLogProb { get; }

    /// <summary>[N, C].</summary>
    public Tensor ReferenceHidden { get; }

    /// <summary>[N, 1].</summary>
    public Tensor ReferenceLogProb { get; }

    /// <summary>[N, 1].</summary>
    public Tensor Kl { get; }

    /// <summary>[N, 1].</summary>
    public Tensor DKl { get; }

    /// <summary>All results of the head.</summary>
    public LmHeadOutput Output { get; }

    public static HeadBuffers Take(Arena arena, ModelConfig config, int rows, bool withReference = false, bool withEntropy = false) =>
        new(arena, config, rows, withReference, withEntropy);
}
