using System.Globalization;
using System.Text;
using Bellman.Runtime.Models;
using Bellman.Training.Data;
using Bellman.Training.Jobs;

namespace Bellman.Cli.Output;

/// <summary>Prints what <c>bellman inspect</c> found.</summary>
internal static class InspectionText
{
    // Tokens of one example that are worth a screen.
    private const int LongestExample = 400;
    private const string ActionColour = "\u001b[32m", StateColour = "\u001b[33m", Plain = "\u001b[0m";

    public static void Write(TextWriter output, ModelInspection model, string folder)
    {
        ModelConfig config = model.Config;
        output.WriteLine($"folder      {folder} ({Sizes.Text(model.Bytes)})");
        output.WriteLine($"family      {config.ModelType}{(model.HasValueHead ? ", value model (value_head.weight)" : "")}");
        output.WriteLine($"parameters  {Sizes.Count(model.Parameters)}, stored as {config.StoredType}");
        output.WriteLine($"sizes       {config.Layers} layers, hidden {config.HiddenSize}, feed-forward {config.IntermediateSize}, {config.Heads} heads of {config.HeadDimension} ({config.KeyValueHeads} for keys and values), vocabulary {config.VocabularySize}");
        output.WriteLine($"positions   {config.MaxPositions}{(config.RopeScaling is { } scaling ? $", rope scaling {scaling.Type} by {scaling.Factor.ToString(CultureInfo.InvariantCulture)}" : "")}");
        output.WriteLine($"head        {(model.HasValueHead ? "one value per token" : config.TieWordEmbeddings ? "tied to the embedding" : "of its own")}");
        output.WriteLine($"end tokens  {(config.EosIds.Count == 0 ? "none named: generation only ends at its limit" : string.Join(", ", config.EosIds))}");
        if (model.Tokenizer is { } tokenizer)
        {
            output.WriteLine($"tokenizer   {tokenizer.VocabularySize} ids, begin {Id(tokenizer.BosId)}, end {Id(tokenizer.EosId)}, padding {Id(tokenizer.PadId)}");
            output.WriteLine($"chat        {(model.HasChatTemplate ? "has a template" : "no template")}");
            if (tokenizer.EosId is { } end && !config.EosIds.Contains(end)) output.WriteLine($"warning     the tokenizer's end token {end} is none of the model's end tokens; generation would not stop at it");
        }
        else
        {
            output.WriteLine($"tokenizer   none that can be used: {model.TokenizerProblem}");
        }
    }

    public static void Write(Terminal terminal, RecipeInspection inspection)
    {
        TextWriter output = terminal.Output;
        output.WriteLine($"objective   {inspection.Recipe.Objective.ToString().ToLowerInvariant()}");
        output.WriteLine($"policy      {inspection.Recipe.Model.Policy}: {inspection.Policy.ModelType}, {Sizes.Count(MemoryPlan.ParameterCount(inspection.Policy))} parameters");
        output.WriteLine($"data        {inspection.Data}");
        if (inspection.Validation is not null) output.WriteLine($"validation  {inspection.Validation}");
        output.WriteLine($"rewards     {string.Join(", ", inspection.Rewards.Select(x => string.Create(CultureInfo.InvariantCulture, $"{x.Count} × {x.Reward:0.###}")))}");
        if (inspection.Pairs is { } pairs) output.WriteLine($"pairs       {pairs.Count} of {pairs.Questions} questions, {pairs.QuestionsWithoutPair} of which have none");
        output.WriteLine($"updates     {inspection.Updates} of up to {inspection.Recipe.Train.BatchSize} {(inspection.Pairs is null ? "trajectories" : "pairs")} ({inspection.UpdatesPerEpoch} for each pass over the data)");
        output.WriteLine($"device      {inspection.Device.Description}{(inspection.DeviceProblem is { } problem ? $" ({problem})" : "")}");
        output.WriteLine($"memory      {Sizes.Text(inspection.Memory.Sum(x => x.Bytes))} in all{(inspection.Device.Memory is { } memory ? $", {Sizes.Text(memory.Free)} of {Sizes.Text(memory.Total)} are free" : "")}:");
        foreach (MemoryPart part in inspection.Memory) output.WriteLine($"            {Sizes.Text(part.Bytes),9}  {part.Name}");
        foreach (InspectedExample example in inspection.Examples)
        {
            output.WriteLine();
            output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"line {example.Line}, reward {example.Reward:0.###}, {example.Tokens.Count} tokens, {example.Tokens.Count(x => x.IsAction)} actions, {States(example)}:"));
            output.WriteLine(Example(example, terminal.HasColour));
        }
    }

    public static void WriteJson(TextWriter output, ModelInspection model) => output.WriteLine(JsonLineWriter.Format(json =>
    {
        ModelConfig config = model.Config;
        json.WriteString("family", config.ModelType);
        json.WriteBoolean("value_head", model.HasValueHead);
        json.WriteNumber("parameters", model.Parameters);
        json.WriteNumber("bytes", model.Bytes);
        json.WriteString("dtype", config.StoredType.ToString());
        json.WriteNumber("layers", config.Layers);
        json.WriteNumber("hidden_size", config.HiddenSize);
        json.WriteNumber("vocab_size", config.VocabularySize);
        json.WriteNumber("max_positions", config.MaxPositions);
        if (model.Tokenizer is { } tokenizer) json.WriteNumber("tokenizer_ids", tokenizer.VocabularySize);
        if (model.TokenizerProblem is not null) json.WriteString("tokenizer_problem", model.TokenizerProblem);
        json.WriteBoolean("chat_template", model.HasChatTemplate);
    }));

    public static void WriteJson(TextWriter output, RecipeInspection inspection) => output.WriteLine(JsonLineWriter.Format(json =>
    {
        json.WriteString("objective", inspection.Recipe.Objective.ToString().ToLowerInvariant());
        json.WriteNumber("read", inspection.Data.Read);
        json.WriteNumber("kept", inspection.Data.Kept);
        json.WriteStartObject("dropped");
        foreach (DropReason reason in Enum.GetValues<DropReason>()) json.WriteNumber(reason.ToString().ToLowerInvariant(), inspection.Data.Dropped(reason));
        json.WriteEndObject();
        json.WriteNumber("tokens", inspection.Data.Tokens);
        json.WriteNumber("action_tokens", inspection.Data.ActionTokens);
        json.WriteNumber("states", inspection.Data.States);
        json.WriteNumber("mean_reward", inspection.Data.MeanReward);
        if (inspection.Pairs is { } pairs) json.WriteNumber("pairs", pairs.Count);
        json.WriteNumber("updates", inspection.Updates);
        json.WriteString("device", inspection.Device.Name);
        if (inspection.DeviceProblem is { } problem) json.WriteString("device_problem", problem);
        json.WriteNumber("memory_bytes", inspection.Memory.Sum(x => x.Bytes));
        json.WriteStartObject("memory");
        foreach (MemoryPart part in inspection.Memory) json.WriteNumber(part.Name, part.Bytes);
        json.WriteEndObject();
    }));

    private static string States(InspectedExample example)
    {
        int states = example.Tokens.Count(x => x.IsState);
        return states == example.Tokens.Count(x => x.IsAction) ? "a state before each" : $"{states} states";
    }

    private static string Example(InspectedExample example, bool colour)
    {
        var text = new StringBuilder();
        bool open = false;
        // At token level every position before an action is a state; a mark behind each token would only hide the text.
        bool marks = example.Tokens.Count(x => x.IsState) != example.Tokens.Count(x => x.IsAction);
        int shown = Math.Min(example.Tokens.Count, LongestExample);
        for (int t = 0; t < shown; t++)
        {
            InspectedToken token = example.Tokens[t];
            if (token.IsAction != open)
            {
                text.Append(colour ? (token.IsAction ? ActionColour : Plain) : token.IsAction ? "[[" : "]]");
                open = token.IsAction;
            }
            text.Append(Visible(token.Text));
            if (marks && token.IsState) text.Append(colour ? $"{StateColour}^{(open ? ActionColour : Plain)}" : "^");
        }
        if (open) text.Append(colour ? Plain : "]]");
        if (shown < example.Tokens.Count) text.Append(CultureInfo.InvariantCulture, $" … {example.Tokens.Count - shown} more tokens");
        return text.ToString();
    }

    // Data may hold anything; control characters other than line breaks must not reach the terminal.
    private static string Visible(string text) => string.Concat(text.Select(x => x is '\n' or '\t' || !char.IsControl(x) ? x.ToString() : $"\\x{(int)x:X2}"));

    private static string Id(int? id) => id?.ToString(CultureInfo.InvariantCulture) ?? "none";
}
