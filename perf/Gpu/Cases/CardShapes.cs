namespace Bellman.Perf.Gpu.Cases;

/// <summary>The models whose sizes the suite measures, with a batch of training.</summary>
internal static class CardShapes
{
    /// <summary>A model of 0.1 billion weights, and those of Qwen2.5.</summary>
    public static IReadOnlyList<ModelShape> All { get; } =
    [
        new("0.1b", C: 768, H: 12, K: 12, D: 64, F: 2048, V: 32000, B: 8, L: 1024),
        new("0.5b", C: 896, H: 14, K: 2, D: 64, F: 4864, V: 151936, B: 8, L: 1024),
        new("1.5b", C: 1536, H: 12, K: 2, D: 128, F: 8960, V: 151936, B: 8, L: 1024),
    ];

    /// <summary>The same widths with few tokens, for comparison with the CPU.</summary>
    public static ModelShape Few(ModelShape shape) => shape with { B = 2, L = Math.Min(shape.L, 70) };
}
