using System.Globalization;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace Bellman.Training.Recipes;

/// <summary>Writes resolved values as YAML, sections nested, in the order of the key table.</summary>
internal static class RecipeWriter
{
    private static readonly JsonSerializerOptions Quoting = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>Writes every key that has an effect with this objective and a value.</summary>
    public static string Write(RecipeValues values, string objective)
    {
        var text = new StringBuilder();
        string[] open = [];
        foreach (RecipeKey key in RecipeKeys.All)
        {
            if (!key.AppliesTo(objective) || Idle(key.Name, values) || values[key.Name] is not { } value) continue;
            string[] path = key.Name.Split('.');
            int shared = 0;
            while (shared < open.Length && shared < path.Length - 1 && open[shared] == path[shared]) shared++;
            for (int depth = shared; depth < path.Length - 1; depth++) text.Append(' ', 2 * depth).Append(path[depth]).Append(":\n");
            open = path[..^1];
            text.Append(' ', 2 * (path.Length - 1)).Append(path[^1]).Append(": ").Append(Format(value)).Append('\n');
        }
        return text.ToString();
    }

    /// <summary>Whether another value takes the effect away from a key, so that a recipe which gives it would be refused.</summary>
    private static bool Idle(string name, RecipeValues values) => name switch
    {
        "train.epochs" => values.Long("train.steps") > 0,
        "oreo.kl_coefficient_lr" => values.OptionalNumber("oreo.target_kl") is null,
        _ => false,
    };

    private static string Format(object value) => value switch
    {
        string word => Quote(word),
        string[] words => $"[{string.Join(", ", words.Select(Quote))}]",
        bool flag => flag ? "true" : "false",
        long whole => whole.ToString(CultureInfo.InvariantCulture),
        double number => Number(number),
        double[] pair => $"[{string.Join(", ", pair.Select(Number))}]",
        _ => throw new InvalidOperationException($"A recipe value of type {value.GetType()} has no YAML form."),
    };

    // The shortest text that reads back to the same number.
    private static string Number(double number) => number.ToString("R", CultureInfo.InvariantCulture).Replace("E", "e", StringComparison.Ordinal);

    private static string Quote(string text)
    {
        bool plain = text.Length > 0 && text != "null" && text.All(c => char.IsAsciiLetterOrDigit(c) || c is '_' or '.' or '/' or '-') && char.IsAsciiLetterOrDigit(text[0]);
        // JSON's quoting is a subset of YAML's.
        return plain ? text : JsonSerializer.Serialize(text, Quoting);
    }
}
