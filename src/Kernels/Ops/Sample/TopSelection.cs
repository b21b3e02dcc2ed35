namespace Bellman.Kernels.Ops.Sample;

/// <summary>
/// The k largest of many numbers by a heap of k entries, ranked by value and then by lower id: one comparison for almost every
/// number, no sort of the whole row. The scratch belongs to the thread and grows to the largest k asked for.
/// </summary>
internal static class TopSelection
{
    [ThreadStatic] private static float[]? _values;
    [ThreadStatic] private static int[]? _ids;

    /// <summary>Selects the k largest, in falling order. The spans are valid until the thread's next call.</summary>
    public static unsafe void Select(float* numbers, int count, int k, out Span<float> values, out Span<int> ids)
    {
        if (_values is null || _values.Length < k)
        {
            int size = Math.Max(256, (int)System.Numerics.BitOperations.RoundUpToPowerOf2((uint)k));
            _values = new float[size];
            _ids = new int[size];
        }
        values = _values.AsSpan(0, k);
        ids = _ids.AsSpan(0, k);
        for (int i = 0; i < k; i++) (values[i], ids[i]) = (numbers[i], i);
        for (int i = k / 2 - 1; i >= 0; i--) SiftDown(values, ids, i, k);
        // The root is the least of those kept. Ids come in ascending order, so an equal number never replaces it.
        for (int i = k; i < count; i++)
        {
            if (!(numbers[i] > values[0])) continue;
            (values[0], ids[0]) = (numbers[i], i);
            SiftDown(values, ids, 0, k);
        }
        // Taking the least out again and again leaves the order falling.
        for (int last = k - 1; last > 0; last--)
        {
            (values[0], values[last]) = (values[last], values[0]);
            (ids[0], ids[last]) = (ids[last], ids[0]);
            SiftDown(values, ids, 0, last);
        }
    }

    private static void SiftDown(Span<float> values, Span<int> ids, int at, int count)
    {
        (float value, int id) = (values[at], ids[at]);
        for (int child; (child = 2 * at + 1) < count; at = child)
        {
            if (child + 1 < count && Below(values[child + 1], ids[child + 1], values[child], ids[child])) child++;
            if (!Below(values[child], ids[child], value, id)) break;
            (values[at], ids[at]) = (values[child], ids[child]);
        }
        (values[at], ids[at]) = (value, id);
    }

    /// <summary>Ranks a below b: smaller, or equal with the higher id.</summary>
    private static bool Below(float a, int aId, float b, int bId) => a < b || a == b && aId > bId;
}
