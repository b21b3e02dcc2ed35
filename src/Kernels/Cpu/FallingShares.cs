namespace Bellman.Kernels.Cpu;

/// <summary>
/// Cuts of a product into shares that grow smaller: the first are large, so that what a task packs serves much work, and the last
/// are small, so that threads which run at uneven speed (a neighbour on the same core) end at nearly the same time.
/// </summary>
internal static class FallingShares
{
    /// <summary>Where a share starts; that of share <paramref name="shares"/> is the end.</summary>
    public static int First(int all, int share, int shares)
    {
        long left = shares - share;
        return (int)(all - all * left * left / ((long)shares * shares));
    }
}
