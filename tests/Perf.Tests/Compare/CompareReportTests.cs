using Bellman.Kernels;
using Bellman.Perf.Compare;
using Bellman.Tests;
using Xunit;

namespace Bellman.Perf.Tests.Compare;

public sealed class CompareReportTests
{
    internal static CompareResults Results { get; } = new CompareResults { Machine = "an abacus, 2 beads", PeerProgram = "PyTorch 9" }
        .With(new MachinePeaks("2026-01-01", 1, 100.4, [20, 10, 30]))
        .With(Entry("step/S1/sft", [new(2000, 300, 160, 0.8), new(1000, 310, 80, 0.4), new(4000, 305, 320, 0.9)], [new(1000, 1000), new(1000, 900), new(1000, 950)]))
        .With(Entry("step/S1/oreo", [new(12.25, 100, 50, 0.5)], []))
        .With(Entry("decode/S3/bf16/1", [new(20.5, 1000, 20, 0.1, 18, 0.9)], [new(10.25, 4000)]))
        .With(Entry("gemm/16x4864x896", [new(50, 70, 50, 0.25)], [new(25, 250)]))
        .With(Entry("gemm/256x512x1024", [new(100, 70, 100, 0.5)], [new(200, 250)]))
        .With(Entry("growth/length/4096", [new(900, 800, 70, 0.3)], []))
        .With(Entry("growth/length/128", [new(1000, 80, 60, 0.3), new(3000, 82, 180, 0.9), new(2000, 81, 120, 0.6)], []))
        .With(Entry("growth/threads-S1-sft/2", [new(1900, 300, 150, 0.8)], []))
        .With(Entry("growth/threads-S1-sft/1", [new(1000, 290, 80, 0.8)], []))
        .With(Entry("profile/S1/oreo", [new(700, 400, 150, 0.75)], []) with { Profile = [new("MatMul", 0.7, 180), new("AdamW", 0.2)] });

    [Fact]
    public void The_report_says_what_was_measured() => Assert.Equal("""
        Machine: an abacus, 2 beads.
        Peer: PyTorch 9.
        Measured 2026-01-01 at abc123.

        | threads | multiply-adds in registers, GFLOP/s | reading memory, GB/s: median (least to most) |
        | --: | --: | --: |
        | 1 | 100 | 20.0 (10.0 to 30.0) |

        ### Training steps

        | case | Bellman, tokens/s | of FMA peak | peer, tokens/s | Bellman / peer (least to most) | memory, MiB | peer, MiB | Bellman / peer |
        | :-- | --: | --: | --: | --: | --: | --: | --: |
        | S1 sft | 2,000 | 80.0 % | 1,000 | 2.00 (1.00 to 4.00) | 305 | 950 | 0.32 |
        | S1 oreo | 12.3 | 50.0 % | | | 100 | | |

        Such as `bellman bench step/S1/sft` and `torch_peer.py --mode step/S1/sft`, in turn; 3 runs of each.

        ### Decoding

        | case | Bellman, new tokens/s | of read rate | peer, new tokens/s | Bellman / peer (least to most) | memory, MiB | peer, MiB | Bellman / peer |
        | :-- | --: | --: | --: | --: | --: | --: | --: |
        | S3 bf16 1 | 20.5 | 90.0 % | 10.3 | 2.00 (2.00 to 2.00) | 1000 | 4000 | 0.25 |

        Such as `bellman bench decode/S3/bf16/1` and `torch_peer.py --mode decode/S3/bf16/1`, in turn; 1 runs of each.

        ### Matrix products

        | case | Bellman, GFLOP/s | of FMA peak | peer, GFLOP/s | Bellman / peer (least to most) | memory, MiB | peer, MiB | Bellman / peer |
        | :-- | --: | --: | --: | --: | --: | --: | --: |
        | 256x512x1024 | 100 | 50.0 % | 200 | 0.50 (0.50 to 0.50) | 70 | 250 | 0.28 |
        | 16x4864x896 | 50.0 | 25.0 % | 25.0 | 2.00 (2.00 to 2.00) | 70 | 250 | 0.28 |
        | geometric mean | | 35.4 % | | 1.00 | | | |

        Such as `bellman bench gemm/256x512x1024` and `torch_peer.py --mode gemm/256x512x1024`, in turn; 1 runs of each.

        ### Where a step goes: S1 oreo

        | part | share of the time | GFLOP/s |
        | :-- | --: | --: |
        | MatMul | 70.0 % | 180 |
        | AdamW | 20.0 % | |
        | one thread alone | 10.0 % | |

        `bellman bench profile/S1/oreo`

        ### Growth with length

        | tokens of a sequence (one sequence) | tokens/s | GFLOP/s | of FMA peak | memory, MiB |
        | --: | --: | --: | --: | --: |
        | 128 | 2,000 | 120 | 60.0 % | 81 |
        | 4096 | 900 | 70 | 30.0 % | 800 |

        Such as `bellman bench growth/length/128`.

        ### Threads

        | case | threads | tokens/s | against one thread | memory, MiB |
        | :-- | --: | --: | --: | --: |
        | S1 sft | 1 | 1,000 | 1.00 | 290 |
        | S1 sft | 2 | 1,900 | 1.90 | 300 |

        """, CompareReport.Write(Results), ignoreLineEndingDifferences: true);

    [Fact]
    public void Nothing_measured_is_said_and_no_table_is_empty() =>
        Assert.Equal("Machine: .\nPeer: none was found.\n", CompareReport.Write(new CompareResults()), ignoreLineEndingDifferences: true);

    [Fact]
    public void Only_what_lies_between_the_marks_is_replaced()
    {
        string document = $"before\n{CompareReport.Begin}\nold\nolder\n{CompareReport.End}\nafter\n";
        string once = CompareReport.Replace(document, "new\n");
        Assert.Equal($"before\n{CompareReport.Begin}\n\nnew\n\n{CompareReport.End}\nafter\n", once);
        Assert.Equal(once, CompareReport.Replace(once, "new\n"));
    }

    [Theory]
    [InlineData("no marks")]
    [InlineData(CompareReport.End + CompareReport.Begin)]
    [InlineData(CompareReport.Begin)]
    public void A_document_without_marks_is_refused(string document) =>
        Assert.Contains("has no place for results", Assert.Throws<BellmanException>(() => CompareReport.Replace(document, "")).Message, StringComparison.Ordinal);

    /// <summary>The tables in docs are those of the results that are kept, not edited by hand.</summary>
    [Fact]
    public void The_tables_in_docs_are_those_of_the_results()
    {
        string document = File.ReadAllText(Path.Combine(TestData.Repository, "docs", "performance.md"));
        CompareResults results = CompareResults.Load(Path.Combine(TestData.Repository, "perf", "results.json"));
        Assert.Equal(CompareReport.Replace(document, CompareReport.Write(results)), document, ignoreLineEndingDifferences: true);
    }

    private static CompareEntry Entry(string key, IReadOnlyList<Sample> ours, IReadOnlyList<Sample> peer) => new()
    {
        Key = key, Date = "2026-01-01", Revision = "abc123", Command = $"bench {key}", PeerCommand = peer.Count > 0 ? $"--mode {key}" : null, Ours = ours, Peer = peer,
    };
}
