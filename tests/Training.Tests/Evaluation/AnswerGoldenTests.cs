using System.Text.Json;
using Bellman.Tests;
using Bellman.Training.Evaluation;
using Xunit;

namespace Bellman.Training.Tests.Evaluation;

/// <summary>Verdicts of the official graders, read from whatever records the golden folder holds.</summary>
[Trait("Category", "Golden")]
public sealed class AnswerGoldenTests(ITestOutputHelper output)
{
    [Fact]
    public void Every_gsm8k_record_agrees()
    {
        int records = 0;
        List<string> wrong = [];
        foreach (JsonElement record in Records("answers.json", "dataset", "gsm8k"))
        {
            records++;
            string prediction = Text(record, "prediction_text"), reference = Text(record, "reference_text");
            AnswerGrade grade = Gsm8kGrader.Grade(prediction, reference, official: true), strict = Gsm8kGrader.GradeStrict(prediction, reference);
            AnswerGrade expected = new(Text(record, "extracted_prediction"), Text(record, "extracted_reference"), IsTrue(record, "correct"));
            AnswerGrade expectedStrict = new(Text(record, "strict_hash_prediction"), Text(record, "strict_hash_reference"), IsTrue(record, "strict_hash_correct"));
            if (grade != expected) wrong.Add($"{prediction}: expected {expected}, received {grade}");
            if (strict != expectedStrict) wrong.Add($"{prediction}: expected strict {expectedStrict}, received {strict}");
        }
        Report("gsm8k", records, wrong);
        Assert.True(records > 0);
        Assert.Empty(wrong);
    }

    [Fact]
    public void Math_records_agree_but_for_a_few()
    {
        int records = 0;
        List<string> wrong = [], badlyExtracted = [];
        foreach (JsonElement record in Records("answers.json", "dataset", "math"))
        {
            records++;
            MathGrade grade = MathGrader.Grade(Text(record, "question"), Text(record, "prediction_text"), Text(record, "reference_text"), official: true);
            string shown = $"{Text(record, "prediction_text")} for {Text(record, "reference_text")}";
            if (!grade.Extracted.SequenceEqual(Texts(record, "extracted_prediction")) || !grade.ExtractedReference.SequenceEqual(Texts(record, "extracted_reference")))
                badlyExtracted.Add($"{shown}: received {string.Join(" | ", grade.Extracted)} and {string.Join(" | ", grade.ExtractedReference)}");
            if (grade.Correct != IsTrue(record, "correct")) wrong.Add($"{shown}: received {grade.Correct}");
        }
        Report("math extraction", records, badlyExtracted);
        Report("math verdict", records, wrong);
        Assert.True(records > 0);
        Assert.Empty(badlyExtracted);
        // Equality of expressions is decided by evaluation, not by the official computer algebra: not every verdict can agree.
        Assert.True(wrong.Count <= records * 0.01, string.Join('\n', wrong));
    }

    [Fact]
    public void Single_functions_agree()
    {
        Dictionary<string, (int Records, List<string> Wrong)> kinds = [];
        foreach (JsonElement record in Records("answer_units.json", null, null))
        {
            string kind = Text(record, "kind");
            (string expected, string received, string input) = kind switch
            {
                "strip_string" => (Text(record, "out"), AnswerNormalizer.Normalize(Text(record, "text")), Text(record, "text")),
                "extract_boxed_answers" => (Joined(Texts(record, "out")), Joined(AnswerText.Boxed(Text(record, "text"))), Text(record, "text")),
                "extract_answer" => (Text(record, "out") + " of " + Joined(Texts(record, "out_all")),
                    AnswerText.Last(Text(record, "text")) + " of " + Joined(AnswerText.All(Text(record, "text"))), Text(record, "text")),
                "math_equal" => (IsTrue(record, "equal").ToString(), AnswerEquality.Equal(Text(record, "prediction"), Text(record, "reference")).ToString(),
                    Text(record, "prediction") + " for " + Text(record, "reference")),
                _ => throw new InvalidOperationException($"answer_units.json: unknown kind '{kind}'"),
            };
            (int records, List<string> wrong) = kinds.GetValueOrDefault(kind, (0, []));
            if (expected != received) wrong.Add($"{input}: expected {expected}, received {received}");
            kinds[kind] = (records + 1, wrong);
        }
        foreach ((string kind, (int records, List<string> wrong)) in kinds) Report(kind, records, wrong);
        Assert.NotEmpty(kinds);
        foreach ((string kind, (int records, List<string> wrong)) in kinds)
            Assert.True(wrong.Count <= (kind == "math_equal" ? records * 0.01 : 0), $"{kind}:\n" + string.Join('\n', wrong));

        static string Joined(IEnumerable<string> answers) => string.Join(" | ", answers);
    }

    private void Report(string what, int records, List<string> wrong)
    {
        output.WriteLine($"{what}: {records - wrong.Count} of {records} agree");
        foreach (string line in wrong) output.WriteLine("  " + line.ReplaceLineEndings("⏎"));
    }

    private static IEnumerable<JsonElement> Records(string file, string? key, string? value)
    {
        using JsonDocument document = JsonDocument.Parse(File.ReadAllText(TestData.Golden(file)));
        foreach (JsonElement record in document.RootElement.EnumerateArray())
            if (key is null || Text(record, key) == value) yield return record;
    }

    private static string Text(JsonElement record, string name) => record.GetProperty(name).GetString() ?? "";

    private static string[] Texts(JsonElement record, string name) => [.. record.GetProperty(name).EnumerateArray().Select(x => x.GetString()!)];

    private static bool IsTrue(JsonElement record, string name)
    {
        JsonElement value = record.GetProperty(name);
        return value.ValueKind == JsonValueKind.True || (value.ValueKind == JsonValueKind.Number && value.GetInt32() == 1);
    }
}
