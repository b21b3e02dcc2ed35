namespace Bellman.Training.Data;

/// <summary>Which positions of a trajectory count as states of the soft Bellman equation (arXiv 2412.16145, section 3).</summary>
public enum StateLevel
{
    /// <summary>Every position whose next token is an action.</summary>
    Token,

    /// <summary>The position just before the first token of each step.</summary>
    Step,

    /// <summary>The position just before the first action token.</summary>
    Response,
}

/// <summary>What ends a step of an assistant turn. The delimiter belongs to the step that it ends.</summary>
public enum StepDelimiter
{
    /// <summary>A line break (GSM8K).</summary>
    LineBreak,

    /// <summary>A line break, a period followed by a space, or a period, a closing <c>$</c> and a space (MATH).</summary>
    LineBreakOrPeriod,

    /// <summary>Nothing inside a turn: one step is one assistant turn (agents).</summary>
    AgentTurn,
}
