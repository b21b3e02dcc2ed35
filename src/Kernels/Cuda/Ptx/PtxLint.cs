using System.Globalization;
using System.Text.RegularExpressions;

namespace Bellman.Kernels.Cuda.Ptx;

/// <summary>
/// Checks printed text on its own, without the kernel it came from: registers declared once and set before use, operand
/// classes as the table has them, labels that exist, instructions that the declared version and target have. The driver's
/// assembler is far away when a kernel is written; this is what stands in for it.
/// </summary>
internal static partial class PtxLint
{
    private static readonly ILookup<string, Form> BySpelling = Forms.All.ToLookup(x => x.Spelling);

    /// <summary>Returns the text, or throws with the first problem.</summary>
    public static string Require(string ptx, string kernel)
    {
        List<string> problems = Check(ptx);
        return problems.Count == 0 ? ptx : throw new Staging.StagingException($"kernel {kernel}: its PTX is wrong: {problems[0]}");
    }

    /// <summary>All problems, each with its line number.</summary>
    public static List<string> Check(string ptx)
    {
        var state = new State();
        string[] lines = ptx.Split('\n');
        for (int i = 0; i < lines.Length; i++)
        {
            string line = lines[i].Trim();
            state.Line = i + 1;
            if (line.Length > 0) CheckLine(line, state);
        }
        foreach ((string label, int line) in state.Jumps)
            if (!state.Labels.Contains(label)) state.Problems.Add($"line {line}: jump to {label}, which is not there");
        if (!state.Ended) state.Add("the entry is not closed");
        return state.Problems;
    }

    private static void CheckLine(string line, State state)
    {
        if (line.StartsWith(".version ", StringComparison.Ordinal)) state.Isa = (int)Math.Round(10 * double.Parse(line[9..], CultureInfo.InvariantCulture));
        else if (line.StartsWith(".target sm_", StringComparison.Ordinal)) state.Target = int.Parse(line[11..].TrimEnd('a'), CultureInfo.InvariantCulture);
        else if (line.StartsWith(".extern .shared", StringComparison.Ordinal)) state.Symbols.Add("shared_memory");
        else if (line.StartsWith(".param ", StringComparison.Ordinal)) CheckParameter(line, state);
        else if (line.StartsWith(".reg ", StringComparison.Ordinal)) CheckDeclaration(line, state);
        else if (line is "{" or ")" || line.StartsWith(".visible .entry ", StringComparison.Ordinal) || line.StartsWith(".maxntid ", StringComparison.Ordinal) || line == ".minnctapersm 1"
            || line.StartsWith(".address_size ", StringComparison.Ordinal)) return;
        else if (line == "}") state.Ended = true;
        else if (line[^1] == ':')
        {
            if (!state.Labels.Add(line[..^1])) state.Add($"label {line[..^1]} stands twice");
        }
        else if (line[^1] != ';') state.Add($"'{line}' does not end with a semicolon");
        else CheckInstruction(line[..^1], state);
    }

    private static void CheckParameter(string line, State state)
    {
        string[] words = line.TrimEnd(',').Split(' ');
        // A tensor map.
        if (words is [_, ".align", "64", ".b8", _] && words[4].EndsWith("[128]", StringComparison.Ordinal)) words = [words[0], ".b8", words[4][..^5]];
        if (words.Length != 3 || words[1] is not (".u64" or ".u32" or ".f32" or ".f64" or ".b8")) state.Add($"'{line}' is no parameter");
        else if (!state.Parameters.TryAdd(words[2], words[1])) state.Add($"parameter {words[2]} stands twice");
    }

    private static void CheckDeclaration(string line, State state)
    {
        Match match = Declaration().Match(line);
        RegisterType type = default;
        bool known = match.Success && RegisterTypes.All.Any(x => (type = x).Declaration() == match.Groups[1].Value);
        if (!known || match.Groups[2].Value != type.Prefix()) state.Add($"'{line}' declares no known class");
        else if (!state.Declared.TryAdd(type, int.Parse(match.Groups[3].Value, CultureInfo.InvariantCulture))) state.Add($"{type.Declaration()} registers are declared twice");
    }

    private static void CheckInstruction(string text, State state)
    {
        Match guard = Guard().Match(text);
        if (guard.Success)
        {
            Read(guard.Groups[1].Value, RegisterType.Pred, state);
            text = text[guard.Length..];
        }
        int space = text.IndexOf(' ');
        string spelling = space < 0 ? text : text[..space], operands = space < 0 ? "" : text[(space + 1)..];
        if (spelling == "ret") return;
        if (spelling == "bra")
        {
            state.Jumps.Add((operands, state.Line));
            return;
        }
        if (!BySpelling.Contains(spelling))
        {
            state.Add($"{spelling} is not in the instruction table");
            return;
        }
        Operand[] received = [.. Operands().Matches(operands).Select(x => new Operand(x.Value))];
        Form? form = BySpelling[spelling].FirstOrDefault(x => Fits(x, received));
        if (form is null)
        {
            state.Add($"{spelling} does not take '{operands}'");
            return;
        }
        if (form.Isa > state.Isa) state.Add($"{spelling} needs PTX {form.Isa / 10}.{form.Isa % 10}, the text declares {state.Isa / 10}.{state.Isa % 10}");
        if (form.Target > state.Target) state.Add($"{spelling} needs sm_{form.Target}, the text declares sm_{state.Target}");
        CheckNames(form, operands, state);

        // What is read must be set already: sources first, then destinations.
        Operand[] registers = Values(form, received);
        for (int i = form.Destinations.Length; i < registers.Length; i++)
            if (registers[i].IsRegister) Read(registers[i].Text, form.Sources[i - form.Destinations.Length], state);
        for (int i = 0; i < form.Destinations.Length; i++)
        {
            if (IsDeclared(registers[i].Text, form.Destinations[i], state)) state.Set.Add(registers[i].Text);
        }
    }

    private static void CheckNames(Form form, string operands, State state)
    {
        if (form.Kind == FormKind.Parameter)
        {
            string name = operands[(operands.IndexOf('[') + 1)..].TrimEnd(']');
            if (!state.Parameters.TryGetValue(name, out string? type)) state.Add($"parameter {name} is not there");
            else if (!form.Spelling.EndsWith(type, StringComparison.Ordinal)) state.Add($"parameter {name} is {type}, read by {form.Spelling}");
        }
        else if (form.Kind == FormKind.ParameterAddress)
        {
            string name = operands[(operands.IndexOf(' ') + 1)..];
            if (!state.Parameters.TryGetValue(name, out string? type)) state.Add($"parameter {name} is not there");
            else if (type != ".b8") state.Add($"parameter {name} is {type}, its address is taken");
        }
        else if (form.Kind == FormKind.SharedAddress && !state.Symbols.Contains("shared_memory")) state.Add("shared_memory is not declared");
    }

    /// <summary>Whether the operands are those of the form: as many, and each of its class.</summary>
    private static bool Fits(Form form, Operand[] received)
    {
        int literals = form.Kind switch
        {
            FormKind.Special or FormKind.SharedAddress or FormKind.Parameter or FormKind.CopyWait or FormKind.Barrier or FormKind.WarpBarrier or FormKind.Vote => 1,
            FormKind.CopyAsync or FormKind.ParameterAddress or FormKind.MbarrierInit or FormKind.MbarrierArrive or FormKind.GroupWait or FormKind.SetRegisters => 1,
            FormKind.Shuffle => 3,
            FormKind.GroupMultiply => form.LeftInRegisters ? 3 : 4,
            _ => 0,
        };
        if (received.Length != form.Destinations.Length + form.Sources.Length + literals) return false;
        if (form.Kind == FormKind.Special && !received[1].Text.StartsWith('%')) return false;
        if (form.Kind == FormKind.ParameterAddress && !char.IsAsciiLetter(received[1].Text[0])) return false;
        if (form.Kind == FormKind.MbarrierArrive && received[0].Text != "_") return false;
        if (form.Kind == FormKind.SharedAddress && !received[1].Text.StartsWith("shared_memory", StringComparison.Ordinal)) return false;
        Operand[] values = Values(form, received);
        for (int i = 0; i < values.Length; i++)
        {
            bool destination = i < form.Destinations.Length;
            RegisterType type = destination ? form.Destinations[i] : form.Sources[i - form.Destinations.Length];
            if (values[i].IsRegister ? values[i].Prefix != type.Prefix() : destination || !values[i].IsLiteral(type)) return false;
        }
        return true;
    }

    // The operands that stand for the form's registers, without the literals among them.
    private static Operand[] Values(Form form, Operand[] received) => form.Kind switch
    {
        FormKind.CopyAsync => [received[0], received[1], received[3]],
        FormKind.MbarrierArrive => received[1..],
        _ => received[..(form.Destinations.Length + form.Sources.Length)],
    };

    private static void Read(string register, RegisterType type, State state)
    {
        if (IsDeclared(register, type, state) && !state.Set.Contains(register)) state.Add($"{register} is read before it is set");
    }

    private static bool IsDeclared(string register, RegisterType type, State state)
    {
        bool good = register.StartsWith(type.Prefix(), StringComparison.Ordinal) && state.Declared.TryGetValue(type, out int count)
            && int.TryParse(register[type.Prefix().Length..], out int number) && number < count;
        if (!good) state.Add($"{register} is not a declared {type.Declaration()} register");
        return good;
    }

    [GeneratedRegex(@"^\.reg (\.\w+) (%[a-z]+)<(\d+)>;$")]
    private static partial Regex Declaration();

    [GeneratedRegex(@"^@!?(%p\d+) ")]
    private static partial Regex Guard();

    // A register, a special register, a number, or a symbol; "+16" inside an address belongs to the register before it.
    [GeneratedRegex(@"%?[\w$.]+(?:\+-?\d+)?|-\d+")]
    private static partial Regex Operands();

    private sealed class State
    {
        public int Line, Isa, Target;
        public bool Ended;
        public readonly List<string> Problems = [];
        public readonly Dictionary<RegisterType, int> Declared = [];
        public readonly Dictionary<string, string> Parameters = [];
        public readonly HashSet<string> Set = [], Labels = [], Symbols = [];
        public readonly List<(string Label, int Line)> Jumps = [];

        public void Add(string problem) => Problems.Add($"line {Line}: {problem}");
    }

    private readonly record struct Operand
    {
        public Operand(string text)
        {
            // The offset of an address.
            int offset = text.IndexOf('+');
            Text = text[0] == '%' && offset > 0 ? text[..offset] : text;
        }

        public string Text { get; }

        public bool IsRegister => Text[0] == '%' && !Text.Contains('.') && Text != "%laneid";

        public string Prefix => Text.TrimEnd("0123456789".ToCharArray());

        public bool IsLiteral(RegisterType type) => type switch
        {
            RegisterType.F32 => Text.StartsWith("0f", StringComparison.Ordinal) && Text.Length == 10,
            RegisterType.F64 => Text.StartsWith("0d", StringComparison.Ordinal) && Text.Length == 18,
            RegisterType.B32 or RegisterType.B64 => long.TryParse(Text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out _),
            _ => false,
        };
    }
}
