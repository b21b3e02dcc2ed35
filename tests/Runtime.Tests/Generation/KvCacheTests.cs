using Bellman.Kernels;
using Bellman.Runtime.Generation;
using Bellman.Runtime.Models;
using Bellman.Runtime.Tests.Models;
using Bellman.Tests;
using Xunit;

namespace Bellman.Runtime.Tests.Generation;

public sealed class KvCacheTests : IDisposable
{
    private readonly LanguageModel _model = TinyModels.Policy(7);

    [Theory]
    [InlineData(512)]
    [InlineData(10)]
    [InlineData(1)]
    public void Appending_in_pieces_of_any_size_equals_a_whole_forward(int maxTokensPerStep)
    {
        int[] ids = TinyModels.Prompt(1, 75);
        using var whole = new ForwardBackward(_model, ids, 0, ids.Length);
        float[] hidden = whole.Hidden.ToArray<float>();
        using var cache = new KvCache(_model, new KvOptions { TokensPerPass = maxTokensPerStep });
        KvSequence sequence = cache.Create();
        int done = 0;
        foreach (int count in (int[])[1, 14, 1, 1, 30, 28])
        {
            Tensor last = cache.Append([sequence], ids.AsSpan(done, count), [0, count]);
            done += count;
            Assert.Equal(done, sequence.Length);
            TensorComparer.Close(hidden.AsSpan((done - 1) * last.Columns, last.Columns), last.AsSpan<float>(), 1e-4, 1e-4, $"after {done} tokens");
        }
        Assert.Equal(ids.Length, done);
        Assert.Equal(ids.Length, cache.TokensComputed);
    }

    [Fact]
    public void Forks_share_pages_until_they_write_and_do_not_disturb_each_other()
    {
        int[] ids = TinyModels.Prompt(2, 40);
        using var cache = new KvCache(_model);
        KvSequence root = cache.Create();
        cache.Append([root], ids, [0, 40]);
        Assert.Equal(3, cache.PagesInUse);
        KvSequence[] forks = [.. Enumerable.Range(0, 5).Select(_ => cache.Fork(root))];
        Assert.Equal(3, cache.PagesInUse);

        int[] next = [3, 4, 5, 6, 7];
        float[] together = cache.Append(forks, next, [0, 1, 2, 3, 4, 5]).ToArray<float>();
        // Each fork copied the half-full page; the two full ones stay common.
        Assert.Equal(3 + 5, cache.PagesInUse);
        for (int i = 0; i < forks.Length; i++)
        {
            int[] all = [.. ids, next[i]];
            using var whole = new ForwardBackward(_model, all, 0, all.Length);
            int columns = whole.Hidden.Columns;
            TensorComparer.Close(whole.Hidden.AsSpan<float>()[(40 * columns)..], together.AsSpan(i * columns, columns), 1e-4, 1e-4, $"fork {i}");
        }
        cache.Free(root);
        Assert.Equal(2 + 5, cache.PagesInUse);
        foreach (KvSequence fork in forks) cache.Free(fork);
        Assert.Equal(0, cache.PagesInUse);
    }

    [Fact]
    public void Every_page_comes_back_whatever_the_order_of_forks_and_frees()
    {
        using var cache = new KvCache(_model);
        var random = new Kernels.Random.PhiloxRandom(5);
        var live = new List<KvSequence>();
        for (int round = 0; round < 300; round++)
        {
            int choice = random.Next(4);
            if (live.Count == 0 || choice == 0)
            {
                live.Add(cache.Create());
                int length = 1 + random.Next(40);
                cache.Append([live[^1]], TinyModels.Prompt(round, length), [0, length]);
            }
            else if (choice == 1)
            {
                live.Add(cache.Fork(live[random.Next(live.Count)]));
            }
            else if (choice == 2)
            {
                cache.Append([live[random.Next(live.Count)]], [4, 5], [0, 2]);
            }
            else
            {
                int gone = random.Next(live.Count);
                cache.Free(live[gone]);
                live.RemoveAt(gone);
            }
            Assert.True(cache.PagesInUse <= live.Sum(x => (x.Length + 15) / 16));
        }
        foreach (KvSequence sequence in live) cache.Free(sequence);
        Assert.Equal(0, cache.PagesInUse);
    }

    [Fact]
    public void A_full_pool_says_so_and_works_on_once_pages_are_free()
    {
        // Room for a few pages: 2 (keys, values) × 2 layers × 2 heads × 4 channels × 16 tokens × 4 bytes = 2 KiB each.
        using var cache = new KvCache(_model, new KvOptions { MaxBytes = 10 << 10 });
        var sequences = new List<KvSequence>();
        DeviceException error = Assert.Throws<DeviceException>(() =>
        {
            for (int i = 0; i < 100; i++)
            {
                sequences.Add(cache.Create());
                cache.Append([sequences[^1]], TinyModels.Prompt(i, 20), [0, 20]);
            }
        });
        Assert.Contains("pages of 16 tokens are in use", error.Message, StringComparison.Ordinal);
        Assert.Contains("memory limit", error.Message, StringComparison.Ordinal);
        foreach (KvSequence sequence in sequences) cache.Free(sequence);
        Assert.Equal(0, cache.PagesInUse);
        KvSequence again = cache.Create();
        Assert.All(cache.Append([again], TinyModels.Prompt(1, 20), [0, 20]).ToArray<float>(), x => Assert.True(float.IsFinite(x)));
        Assert.Contains("raise the limit", Assert.Throws<DeviceException>(() => new KvCache(_model, new KvOptions { MaxBytes = 100 })).Message, StringComparison.Ordinal);
    }

    public void Dispose() => _model.Dispose();
}
