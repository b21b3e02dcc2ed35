using Bellman.Training.Data;
using Xunit;

namespace Bellman.Training.Tests.Data;

public sealed class BatchPlanTests
{
    private static List<Trajectory> Trajectories(int count) => [.. Enumerable.Range(0, count).Select(i =>
    {
        int length = 2 + i % 7;
        var mask = new bool[length];
        mask.AsSpan(0, length - 1).Fill(true);
        return new Trajectory([.. Enumerable.Range(100 * i, length)], mask, [.. mask], i, line: i + 1);
    })];

    private static List<int[]> Epoch(BatchPlan plan, int epoch)
    {
        var batches = new List<int[]>();
        for (int b = 0; b < plan.BatchesPerEpoch; b++)
        {
            plan.Select(epoch, b);
            var all = new List<int>();
            for (int m = 0; m < plan.MicroBatchCount; m++) all.AddRange(plan.MicroBatch(m));
            batches.Add([.. all]);
        }
        return batches;
    }

    [Fact]
    public void EveryEpochHoldsEachTrajectoryOnceInItsOwnOrder()
    {
        var plan = new BatchPlan(Trajectories(23), 5, 12, 3);
        Assert.Equal(5, plan.BatchesPerEpoch);
        int[] first = [.. Epoch(plan, 0).SelectMany(x => x)], second = [.. Epoch(plan, 1).SelectMany(x => x)];
        Assert.Equal(Enumerable.Range(0, 23), first.Order());
        Assert.Equal(Enumerable.Range(0, 23), second.Order());
        Assert.NotEqual(first, second);
        Assert.NotEqual(first, [.. Epoch(new BatchPlan(Trajectories(23), 5, 12, 4), 0).SelectMany(x => x)]);
        Assert.Equal(Enumerable.Range(0, 23), Epoch(new BatchPlan(Trajectories(23), 5, 12, 3, shuffle: false), 1).SelectMany(x => x));
    }

    [Fact]
    public void ABatchCanBeHadWithoutTheEarlierOnes()
    {
        List<int[]> whole = Epoch(new BatchPlan(Trajectories(23), 5, 12, 3), 2);
        var resumed = new BatchPlan(Trajectories(23), 5, 12, 3);
        resumed.Select(2L * resumed.BatchesPerEpoch + 3);
        var got = new List<int>();
        for (int m = 0; m < resumed.MicroBatchCount; m++) got.AddRange(resumed.MicroBatch(m));
        Assert.Equal(whole[3], got);
    }

    [Fact]
    public void MicroBatchesKeepTheTokenLimitAndTheBatchTotals()
    {
        List<Trajectory> trajectories = Trajectories(23);
        var plan = new BatchPlan(trajectories, 6, 17, 11);
        var rows = new PackedRows(plan.TokenCapacity, plan.SequenceCapacity);
        int cuts = 0;
        for (int b = 0; b < plan.BatchesPerEpoch; b++)
        {
            plan.Select(0, b);
            int sequences = 0, tokens = 0, actions = 0;
            for (int m = 0; m < plan.MicroBatchCount; m++)
            {
                plan.Fill(m, rows);
                Assert.InRange(rows.TokenCount, 1, 17);
                sequences += rows.SequenceCount;
                tokens += rows.TokenCount;
                foreach (float action in rows.ActionMask) actions += (int)action;
            }
            Assert.Equal((plan.SequenceCount, plan.TokenCount, plan.ActionCount), (sequences, tokens, actions));
            cuts += plan.MicroBatchCount - 1;
        }
        Assert.True(cuts > 0, "the limit was meant to cut batches");
    }

    [Fact]
    public void PackedRowsAreTheSequencesEndToEnd()
    {
        Trajectory[] two =
        [
            new([7, 8, 9], [false, true, false], [false, true, false], 1),
            new([5, 6, 4, 3], [true, true, true, false], [true, false, true, false], -0.5f),
        ];
        var rows = new PackedRows(16, 4);
        rows.Fill(two, [1, 0]);
        Assert.Equal([5, 6, 4, 3, 7, 8, 9], rows.Ids.ToArray());
        Assert.Equal([0, 1, 2, 3, 0, 1, 2], rows.Positions.ToArray());
        Assert.Equal([6, 4, 3, -1, 8, 9, -1], rows.Targets.ToArray());
        Assert.Equal([1, 1, 1, 0, 0, 1, 0], rows.ActionMask.ToArray());
        Assert.Equal([1, 0, 1, 0, 0, 1, 0], rows.StateMask.ToArray());
        Assert.Equal([0, 4, 7], rows.SequenceStarts.ToArray());
        Assert.Equal([-0.5f, 1], rows.Rewards.ToArray());
        Assert.Contains("at most 16 tokens in 4 sequences", Assert.Throws<DataException>(() => rows.Fill(two, [0, 0, 0, 0, 0])).Message);
    }

    [Fact]
    public void ASecondPassOverAnEpochAllocatesNothing()
    {
        List<Trajectory> trajectories = Trajectories(23);
        var plan = new BatchPlan(trajectories, 6, 17, 11);
        var rows = new PackedRows(plan.TokenCapacity, plan.SequenceCapacity);
        Pass();
        long before = GC.GetAllocatedBytesForCurrentThread();
        Pass();
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);

        void Pass()
        {
            for (int b = 0; b < plan.BatchesPerEpoch; b++)
            {
                plan.Select(1, b);
                for (int m = 0; m < plan.MicroBatchCount; m++) plan.Fill(m, rows);
            }
        }
    }

    [Fact]
    public void WhatCannotBeBatchedIsRefused()
    {
        Assert.Contains("received none", Assert.Throws<DataException>(() => new BatchPlan([], 1, 10, 0)).Message);
        Assert.Contains("positive", Assert.Throws<DataException>(() => new BatchPlan(Trajectories(2), 0, 10, 0)).Message);
        Assert.Contains("has 8 tokens, more than the 7", Assert.Throws<DataException>(() => new BatchPlan(Trajectories(9), 2, 7, 0)).Message);
    }
}
