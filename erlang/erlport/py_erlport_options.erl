%%% @doc ErlPort's options: what there is, what it may be, what it is when nothing is said. Pure.
%%% @private
-module(py_erlport_options).

-export([start/1, call/1]).
-export_type([option/0, options/0, call_option/0, call_options/0, problem/0]).

-type option() ::
    {buffer_size, pos_integer()}
    | {call_timeout, pos_integer() | infinity}
    | {cd, string()}
    | {compressed, 0..9}
    | {env, [{Name :: string(), Value :: string() | false}]}
    | nouse_stdio
    | use_stdio
    | {packet, 1 | 2 | 4}
    | {program, [string()]}
    | {python, string()}
    | {python_path, string() | [string()]}
    | {start_timeout, pos_integer() | infinity}.
%% How an instance is started.
%%
%% <dl>
%% <dt>`buffer_size'</dt><dd>how much Python reads at first, in bytes (65536)</dd>
%% <dt>`call_timeout'</dt><dd>for each call that brings none, in milliseconds (`infinity')</dd>
%% <dt>`cd'</dt><dd>Python's working directory (that of the BEAM)</dd>
%% <dt>`compressed'</dt><dd>zlib's level for what both sides send (0: none)</dd>
%% <dt>`env'</dt><dd>changes to the environment, as of `open_port/2' ([])</dd>
%% <dt>`nouse_stdio', `use_stdio'</dt><dd>descriptors 3 and 4, or 0 and 1 (`use_stdio')</dd>
%% <dt>`packet'</dt><dd>bytes of a message's length (4)</dd>
%% <dt>`program'</dt><dd>an option that ErlPort has not: what of Python is started, before the protocol's flags. For the
%% Python half of ErlPort itself `["-u", "-m", "erlport.cli"]' (that of `py')</dd>
%% <dt>`python'</dt><dd>the interpreter, a path or a name on `PATH', and behind it, after a space, arguments of its own (the
%% environment variable `ERLPORT_PYTHON', else as {@link py_launcher} has it)</dd>
%% <dt>`python_path'</dt><dd>directories to import from, a list or separated by colons ([])</dd>
%% <dt>`start_timeout'</dt><dd>for Python's first answer, in milliseconds (10000)</dd>
%% </dl>
-type options() :: #{
    arguments => [string()],
    buffer_size := pos_integer(),
    call_timeout := timeout(),
    cd := undefined | string(),
    compressed := 0..9,
    env := [{string(), string() | false}],
    packet := 1 | 2 | 4,
    program := py | [string()],
    python := undefined | string(),
    python_path := [string()],
    start_timeout := timeout(),
    use_stdio := boolean()
}.
%% Checked and complete; `arguments' are those that stood behind the interpreter's name.
-type call_option() :: async | {timeout, pos_integer() | infinity}.
%% `async': do not wait, and have no result. `timeout' is in milliseconds.
-type call_options() :: #{async := boolean(), timeout := default | timeout()}.
-type problem() :: {unknown_option, term()} | {invalid_option, term()}.

-define(LONGEST_MS, 16#ffffffff).

%% @doc The options of an instance; of one that is given twice the first counts.
-spec start([option()]) -> {ok, options()} | {error, problem()}.
start(Options) ->
    check(fun start_option/1, Options, #{
        buffer_size => 65_536,
        call_timeout => infinity,
        cd => undefined,
        compressed => 0,
        env => [],
        packet => 4,
        program => py,
        python => undefined,
        python_path => [],
        start_timeout => 10_000,
        use_stdio => true
    }).

%% @doc The options of a call.
-spec call([call_option()]) -> {ok, call_options()} | {error, problem()}.
call([]) -> {ok, #{async => false, timeout => default}};
call(Options) -> check(fun call_option/1, Options, #{async => false, timeout => default}).

check(Check, Options, Defaults) when length(Options) >= 0 -> check_each(Check, lists:reverse(Options), Defaults);
check(_Check, Options, _Defaults) -> {error, {invalid_option, Options}}.

check_each(Check, [Option | Rest], Checked) ->
    case Check(Option) of
        {Key, Value} -> check_each(Check, Rest, Checked#{Key := Value});
        Problem -> {error, {Problem, Option}}
    end;
check_each(_Check, [], Checked) ->
    {ok, Checked}.

start_option({buffer_size, Bytes}) when is_integer(Bytes), Bytes > 0 -> {buffer_size, Bytes};
start_option({call_timeout, Timeout}) -> timeout(call_timeout, Timeout);
start_option({start_timeout, Timeout}) -> timeout(start_timeout, Timeout);
start_option({compressed, Level}) when is_integer(Level), Level >= 0, Level =< 9 -> {compressed, Level};
start_option({packet, Bytes}) when Bytes =:= 1; Bytes =:= 2; Bytes =:= 4 -> {packet, Bytes};
start_option(use_stdio) -> {use_stdio, true};
start_option(nouse_stdio) -> {use_stdio, false};
start_option({cd, Directory}) -> text(cd, Directory, filelib:is_dir(Directory));
start_option({python, [_ | _] = Python}) -> text(python, Python, true);
start_option({python_path, [First | _] = Paths}) when is_list(First) ->
    case lists:all(fun io_lib:printable_unicode_list/1, Paths) of
        true -> {python_path, Paths};
        false -> invalid_option
    end;
start_option({python_path, Paths}) -> text(python_path, Paths, true);
start_option({program, [_ | _] = Arguments}) ->
    case lists:all(fun io_lib:printable_unicode_list/1, Arguments) of
        true -> {program, Arguments};
        false -> invalid_option
    end;
start_option({env, Variables}) when is_list(Variables) ->
    case lists:all(fun is_variable/1, Variables) of
        true -> {env, Variables};
        false -> invalid_option
    end;
start_option({Key, _}) ->
    case lists:member(Key, [buffer_size, compressed, packet, python, program, env]) of
        true -> invalid_option;
        false -> unknown_option
    end;
start_option(_) ->
    unknown_option.

call_option(async) -> {async, true};
call_option({timeout, Timeout}) -> timeout(timeout, Timeout);
call_option(_) -> unknown_option.

timeout(Key, infinity) -> {Key, infinity};
timeout(Key, Ms) when is_integer(Ms), Ms > 0, Ms =< ?LONGEST_MS -> {Key, Ms};
timeout(_Key, _) -> invalid_option.

text(Key, Text, Fits) ->
    case Fits andalso io_lib:printable_unicode_list(Text) of
        true when Key =:= python_path -> {Key, string:lexemes(Text, ":")};
        true -> {Key, Text};
        false -> invalid_option
    end.

is_variable({Name, false}) -> io_lib:printable_unicode_list(Name);
is_variable({Name, Value}) -> io_lib:printable_unicode_list(Name) andalso io_lib:printable_unicode_list(Value);
is_variable(_) -> false.
