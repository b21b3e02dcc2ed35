using System.Globalization;

namespace Bellman.Training.Recipes;

/// <summary>What the value of a key looks like.</summary>
internal enum KeyKind
{
    /// <summary>Any text; <c>null</c> where the key is optional.</summary>
    Text,

    /// <summary>One text or a list of texts.</summary>
    Texts,

    /// <summary>A whole number.</summary>
    Integer,

    /// <summary>A number.</summary>
    Number,

    /// <summary>A list of two numbers.</summary>
    Pair,

    /// <summary>One whole number or a list of them.</summary>
    Integers,

    /// <summary>One number or a list of them.</summary>
    Numbers,

    /// <summary>true or false.</summary>
    Flag,

    /// <summary>One of a few words.</summary>
    Choice,
}

/// <summary>The numbers that a key accepts.</summary>
internal readonly record struct Bounds(double Low, bool LowOpen, double High, bool HighOpen)
{
    public static readonly Bounds Any = new(double.NegativeInfinity, true, double.PositiveInfinity, true);
    public static readonly Bounds Positive = new(0, true, double.PositiveInfinity, true);
    public static readonly Bounds NotNegative = new(0, false, double.PositiveInfinity, true);
    public static readonly Bounds FromOne = new(1, false, double.PositiveInfinity, true);
    public static readonly Bounds BelowOne = new(0, false, 1, true);
    public static readonly Bounds ToOne = new(0, false, 1, false);

    public bool Holds(double x) => (LowOpen ? x > Low : x >= Low) && (HighOpen ? x < High : x <= High);

    /// <summary>In words: "above 0", "at least 0 and below 1"; empty where every finite number is allowed.</summary>
    public override string ToString()
    {
        string low = double.IsInfinity(Low) ? "" : string.Create(CultureInfo.InvariantCulture, $"{(LowOpen ? "above" : "at least")} {Low}");
        string high = double.IsInfinity(High) ? "" : string.Create(CultureInfo.InvariantCulture, $"{(HighOpen ? "below" : "at most")} {High}");
        return low.Length > 0 && high.Length > 0 ? $"{low} and {high}" : low + high;
    }
}

/// <summary>Declaration of one key of a recipe: reader, validation, writer and the table in docs/recipes.md come from it.</summary>
/// <param name="Name">Full name, sections separated by dots.</param>
/// <param name="Kind">What its value looks like.</param>
/// <param name="Default">The default as text; empty for "none", null where the key must be given.</param>
/// <param name="Help">One sentence for the table.</param>
internal sealed record RecipeKey(string Name, KeyKind Kind, string? Default, string Help)
{
    /// <summary>The words of a <see cref="KeyKind.Choice"/>.</summary>
    public string[] Choices { get; init; } = [];

    /// <summary>The numbers it accepts.</summary>
    public Bounds Bounds { get; init; } = Bounds.Any;

    /// <summary>Objectives for which the key has an effect; null for all.</summary>
    public string[]? Objectives { get; init; }

    /// <summary>Another key whose value chooses the default, and the defaults for its values; <see cref="Default"/> for all others.</summary>
    public (string Key, IReadOnlyDictionary<string, string> Values)? DefaultBy { get; init; }

    /// <summary>The type as the table shows it.</summary>
    public string TypeText => Kind switch
    {
        KeyKind.Text => "text",
        KeyKind.Texts => "text or list of texts",
        KeyKind.Integer => Join("integer", Bounds.ToString()),
        KeyKind.Number => Join("number", Bounds.ToString()),
        KeyKind.Pair => Join("two numbers", Bounds.ToString()),
        KeyKind.Integers => Join("integer or list of integers", Bounds.ToString()),
        KeyKind.Numbers => Join("number or list of numbers", Bounds.ToString()),
        KeyKind.Flag => "true or false",
        _ => string.Join(", ", Choices),
    };

    /// <summary>The default as the table shows it.</summary>
    public string DefaultText
    {
        get
        {
            string plain = Default switch { null => "must be given", "" => "none", _ => $"`{Default.Replace("\n", "\\n")}`" };
            return DefaultBy is not { } by ? plain : $"{plain}; {string.Join(", ", by.Values.Select(x => $"`{x.Value}` for {x.Key}"))}";
        }
    }

    /// <summary>Whether the key has an effect with this objective.</summary>
    public bool AppliesTo(string? objective) => Objectives is null || objective is null || Objectives.Contains(objective);

    /// <summary>
    /// The value of a text as string, string[], long, long[], double, double[] or bool; null after adding a problem where the
    /// text does not fit.
    /// </summary>
    /// <param name="raw">What was written.</param>
    /// <param name="problems">Gets a sentence where it is wrong.</param>
    /// <param name="name">What errors call the key: its name, with chosen parts filled in.</param>
    public object? Convert(RawValue raw, List<string> problems, string? name = null)
    {
        name ??= Name;
        IReadOnlyList<string>? many = raw.Items ?? (raw.Text is { } one ? [one] : null);
        switch (Kind)
        {
            case KeyKind.Text when raw.Text is { } text:
                return text;
            case KeyKind.Texts when raw.Text is { } single:
                return new[] { single };
            case KeyKind.Texts when raw.Items is { Count: > 0 } texts && texts.All(x => x.Length > 0):
                return texts.ToArray();
            case KeyKind.Flag when raw.Text is "true" or "false":
                return raw.Text == "true";
            case KeyKind.Choice when raw.Text is { } word:
                if (Choices.Contains(word)) return word;
                string near = NearName.Find(word, Choices) is { } found ? $"; did you mean '{found}'?" : "";
                problems.Add($"{raw.Where}: {name}: expected one of {TypeText}, received '{word}'{near}");
                return null;
            case KeyKind.Integer when TryWhole(raw.Text, out long whole):
                return whole;
            case KeyKind.Integers when many is { Count: > 0 } && Array.TrueForAll([.. many], x => TryWhole(x, out _)):
                return many.Select(x => long.Parse(x, CultureInfo.InvariantCulture)).ToArray();
            case KeyKind.Number when TryNumber(raw.Text, out double number):
                return number;
            case KeyKind.Numbers when many is { Count: > 0 } && Array.TrueForAll([.. many], x => TryNumber(x, out _)):
                return many.Select(x => double.Parse(x, CultureInfo.InvariantCulture)).ToArray();
            case KeyKind.Pair when raw.Items is { Count: 2 } two && TryNumber(two[0], out double first) && TryNumber(two[1], out double second):
                return new[] { first, second };
        }
        problems.Add($"{raw.Where}: {name}: expected {TypeText}, received {(raw.Text is { } shown ? $"'{shown}'" : raw.Items is { } items ? $"[{string.Join(", ", items)}]" : "nothing")}");
        return null;
    }

    // Seeds are the only numbers beyond 32 bits.
    private bool TryWhole(string? text, out long whole) =>
        long.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out whole) && Bounds.Holds(whole) && (whole <= int.MaxValue || Name is "seed" or "seeds");

    private bool TryNumber(string? text, out double number) =>
        double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out number) && double.IsFinite(number) && Bounds.Holds(number);

    private static string Join(string type, string bounds) => bounds.Length == 0 ? type : $"{type}, {bounds}";
}
