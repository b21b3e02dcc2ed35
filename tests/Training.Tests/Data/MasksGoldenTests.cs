using System.Text.Json;
using Bellman.Tests;
using Bellman.Training.Data;
using Xunit;

namespace Bellman.Training.Tests.Data;

/// <summary>
/// Our masks against those of the authors' dataset classes, every record of masks.json. docs/decisions/0006-masks.md tells
/// where they differ on purpose; here each difference is predicted from the record and then found exactly as predicted.
/// </summary>
[Trait("Category", "Golden")]
public sealed class MasksGoldenTests(ITestOutputHelper output)
{
    [Fact]
    public void EveryRecordIsEqualOrDiffersAsPredicted()
    {
        using JsonDocument file = JsonDocument.Parse(File.ReadAllText(TestData.Golden("masks.json")));
        var counts = new SortedDictionary<MaskCategory, int>();
        int index = -1;
        foreach (JsonElement json in file.RootElement.EnumerateArray())
        {
            index++;
            if (json.GetProperty("kind").GetString()!.StartsWith("collate", StringComparison.Ordinal)) continue;
            var record = new MasksGoldenRecord(json);
            counts[record.Category] = counts.GetValueOrDefault(record.Category) + 1;
            Check(record, $"record {index}");
        }
        foreach ((MaskCategory category, int count) in counts) output.WriteLine($"{category}: {count}");
        Assert.NotEmpty(counts);
    }

    [Fact]
    public void PackedRowsHoldWhatThePaddedBatchesHold()
    {
        using JsonDocument file = JsonDocument.Parse(File.ReadAllText(TestData.Golden("masks.json")));
        var singles = new Dictionary<string, MasksGoldenRecord>();
        var batches = new List<JsonElement>();
        foreach (JsonElement json in file.RootElement.EnumerateArray())
        {
            string kind = json.GetProperty("kind").GetString()!;
            if (kind.StartsWith("collate", StringComparison.Ordinal)) batches.Add(json);
            else if (kind != "alfworld" && new MasksGoldenRecord(json) is { Category: MaskCategory.Same } record)
                singles.TryAdd(Key(kind, json, record.Ids), record);
        }
        int rows = 0;
        foreach (JsonElement batch in batches)
        {
            string kind = batch.GetProperty("kind").GetString()!["collate_".Length..];
            int[][] ids = Rows(batch, "ids"), attention = Rows(batch, "attention_mask"), states = Rows(batch, "state_masks"), actions = Rows(batch, "action_masks");
            var trajectories = new List<Trajectory>();
            var expected = new List<(float[] States, float[] Actions)>();
            for (int row = 0; row < ids.Length; row++)
            {
                int[] kept = [.. Enumerable.Range(0, ids[row].Length).Where(t => attention[row][t] != 0)];
                int[] own = [.. kept.Select(t => ids[row][t])];
                // Rows whose masks differ on purpose are the other test's business.
                if (!singles.TryGetValue(Key(kind, batch, own), out MasksGoldenRecord? record)) continue;
                (bool[] ourActions, bool[] ourStates) = TrajectoryMasks.Build(record.Turns, record.Pieces, record.Level, record.Delimiter);
                float reward = batch.GetProperty("rewards").EnumerateArray().ElementAt(row) is { ValueKind: JsonValueKind.Array } nested ? nested[0].GetSingle() : batch.GetProperty("rewards")[row].GetSingle();
                trajectories.Add(new Trajectory(own, ourActions, ourStates, reward));
                // Theirs: entry t says whether token t is an action; ours: whether token t + 1 is.
                expected.Add(([.. kept.Select(t => (float)states[row][t])], [.. kept.Skip(1).Select(t => (float)actions[row][t]), 0f]));
            }
            var packed = new PackedRows(trajectories.Sum(x => x.Length), trajectories.Count);
            packed.Fill(trajectories, [.. Enumerable.Range(0, trajectories.Count)]);
            for (int s = 0; s < trajectories.Count; s++, rows++)
            {
                int start = packed.SequenceStarts[s], length = packed.SequenceStarts[s + 1] - start;
                Assert.Equal(trajectories[s].Ids, packed.Ids.Slice(start, length).ToArray());
                Assert.Equal(expected[s].States, packed.StateMask.Slice(start, length).ToArray());
                Assert.Equal(expected[s].Actions, packed.ActionMask.Slice(start, length).ToArray());
                Assert.Equal(trajectories[s].Reward, packed.Rewards[s]);
            }
        }
        output.WriteLine($"{rows} rows of {batches.Count} batches");
        Assert.True(batches.Count == 0 || rows > 0);
    }

    private static void Check(MasksGoldenRecord record, string what)
    {
        (bool[] actions, bool[] states) = TrajectoryMasks.Build(record.Turns, record.Pieces, record.Level, record.Delimiter);
        if (record.Category == MaskCategory.Overlong)
        {
            // They fill max_length exactly and lose the end token; TrajectoryTokenizerTests show that ours are dropped.
            Assert.True(record.Tokens.Length == record.MaxLength, $"{what}: a cut record has max_length tokens");
            return;
        }
        Assert.False(record.Raises, $"{what}: their class fails on a text that is not too long");
        bool[] officialActions = [.. record.OfficialActions.Skip(1), false];
        switch (record.Category)
        {
            case MaskCategory.Same:
                Assert.True(officialActions.SequenceEqual(actions), $"{what}: actions\n{TrajectoryMasksTests.Picture(officialActions)}\n{TrajectoryMasksTests.Picture(actions)}");
                Assert.True(record.OfficialStates.SequenceEqual(states), $"{what}: states\n{TrajectoryMasksTests.Picture(record.OfficialStates)}\n{TrajectoryMasksTests.Picture(states)}");
                break;
            case MaskCategory.StepStartsInsideToken:
                Assert.Equal(officialActions, actions);
                CheckInsideToken(record, states, what);
                break;
            case MaskCategory.DelimiterAtEnd:
                Assert.Equal(officialActions, actions);
                int[] extra = [.. Enumerable.Range(0, states.Length).Where(t => states[t] != record.OfficialStates[t])];
                Assert.True(extra is [int only] && states[only] && record.Pieces[only].Length > 0 && record.Pieces.Skip(only + 1).All(x => x.Length == 0), $"{what}: one state more, after the last token with text");
                break;
            case MaskCategory.TemplateHeader:
                CheckHeader(record, officialActions, actions, states, what);
                break;
        }
    }

    private static void CheckInsideToken(MasksGoldenRecord record, bool[] states, string what)
    {
        // Not every such token makes a difference: at the start of a response both put a state before it.
        for (int t = 0; t < states.Length; t++)
        {
            if (states[t] == record.OfficialStates[t]) continue;
            // Theirs lies before the token with the delimiter, ours behind it.
            string holder = record.OfficialStates[t] ? record.Pieces[t + 1] : record.Pieces[t];
            Assert.True(holder.TrimEnd(' ').Length > 0 && (holder.Contains('\n') || holder.Contains(". ") || holder.Contains(".$ ")), $"{what}: token '{holder}' at {t} explains no difference");
            if (record.OfficialStates[t]) Assert.True(t + 1 >= states.Length - 1 || states[t + 1], $"{what}: expected our state behind token {t + 1}");
        }
    }

    private static void CheckHeader(MasksGoldenRecord record, bool[] officialActions, bool[] actions, bool[] states, string what)
    {
        bool[] expectedActions = [.. actions], expectedStates = [.. states];
        foreach ((int first, int header) in record.HeaderBefore)
        {
            // They start the action with the header: its tokens become actions, and the state moves in front of it.
            for (int t = first - 1 - header; t < first - 1; t++) expectedActions[t] = true;
            if (record.Level == StateLevel.Token) for (int t = first - 1 - header; t < first - 1; t++) expectedStates[t] = true;
            else (expectedStates[first - 1 - header], expectedStates[first - 1]) = (true, false);
        }
        Assert.True(officialActions.SequenceEqual(expectedActions), $"{what}: actions\n{TrajectoryMasksTests.Picture(officialActions)}\n{TrajectoryMasksTests.Picture(expectedActions)}");
        Assert.True(record.OfficialStates.SequenceEqual(expectedStates), $"{what}: states\n{TrajectoryMasksTests.Picture(record.OfficialStates)}\n{TrajectoryMasksTests.Picture(expectedStates)}");
        Assert.False(officialActions.SequenceEqual(actions), $"{what}: a difference was predicted, none was found");
    }

    private static string Key(string kind, JsonElement json, int[] ids) =>
        $"{kind}|{json.GetProperty("step_level")}|{json.GetProperty("period_as_delimiter")}|{string.Join(',', ids)}";

    private static int[][] Rows(JsonElement json, string name) =>
        [.. json.GetProperty(name).EnumerateArray().Select(row => row.EnumerateArray().Select(x => x.GetInt32()).ToArray())];
}
