namespace Bellman.Kernels;

/// <summary>How the matrices of a model that is not trained lie in memory. Activations and sums are float32 with all of them.</summary>
public enum WeightFormat
{
    /// <summary>float32: 4 bytes a weight.</summary>
    F32,

    /// <summary>bfloat16: 2 bytes a weight. A checkpoint stored in bfloat16 gives the same results to the last bit as with <see cref="F32"/>.</summary>
    BF16,

    /// <summary>
    /// Signed bytes with one float32 scale for each output channel: 1 byte a weight. Weights are rounded to a 127th of the largest in their
    /// channel, so results change a little.
    /// </summary>
    Int8,
}
