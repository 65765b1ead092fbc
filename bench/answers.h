/* The bytes that the engine stand-in answers with: in shape and size those of vLLM, about a business trip. */
#ifndef BENCH_ANSWERS_H
#define BENCH_ANSWERS_H

#include "common.h"

#include <stdio.h>

#define FRAME_BYTES 1024
#define ANSWER_BYTES 4096

/* One event of a stream as an HTTP chunk; *stamp_at* is where its time stamp goes, 0: it has none. */
struct frame {
    char bytes[FRAME_BYTES];
    size_t size;
    size_t stamp_at;
};

#define CHUNK_HEAD                                                                                       \
    "data: {\"id\":\"chatcmpl-9b2f6c1d8e7a4f35b0c2d4e6f8a1b3c5\",\"object\":\"chat.completion.chunk\"," \
    "\"created\":1764000000,\"model\":\"qwen\",\"choices\":["
#define DELTA(delta, reason) \
    CHUNK_HEAD "{\"index\":0,\"delta\":{" delta "},\"logprobs\":null,\"finish_reason\":" reason "}]}\n\n"
#define USAGE "\"usage\":{\"prompt_tokens\":412,\"total_tokens\":%ld,\"completion_tokens\":%ld"

#define WHOLE_HEAD                                                                           \
    "HTTP/1.1 200 OK\r\ndate: Tue, 24 Nov 2026 00:00:00 GMT\r\nserver: uvicorn\r\n" \
    "content-length: %zu\r\ncontent-type: application/json\r\n\r\n"

static const char STREAM_HEAD[] =
    "HTTP/1.1 200 OK\r\ndate: Tue, 24 Nov 2026 00:00:00 GMT\r\nserver: uvicorn\r\n"
    "content-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n";
static const char *const PIECES[] = {"根据", "贵公司", "的差旅", "管理办法", "，", "员工", "乘坐", "飞机",
                                     "经济舱", "时", "需由", "部门", "负责人", "事先", "审批", "。"};
#define PIECE_COUNT (sizeof PIECES / sizeof *PIECES)
static const char ANSWER[] =
    "您好！根据贵公司的差旅管理办法，员工因公出差乘坐飞机经济舱的，应当在出行前通过办公系统提交出差申请，写明事由、"
    "行程和预计费用，由所在部门负责人审批；单程票价超过两千元的，还需分管领导批准。回来后十个工作日内，凭登机牌和"
    "电子行程单到财务部报销。未经批准而乘坐更高舱位的，超出部分由个人承担。";

static struct frame content_frames[PIECE_COUNT], role_frame, finish_frame, done_frame, end_frame;
static char whole_answer[ANSWER_BYTES], models_answer[ANSWER_BYTES];

/* Frame *event* as one HTTP chunk. */
static void frame_event(struct frame *frame, const char *event) {
    frame->size = (size_t)snprintf(frame->bytes, FRAME_BYTES, "%zx\r\n%s\r\n", strlen(event), event);
    const char *mark = memchr(frame->bytes, STAMP_MARK, frame->size);
    frame->stamp_at = mark ? (size_t)(mark - frame->bytes) + 1 : 0;
}

static void prepare_answers(void) {
    char event[FRAME_BYTES / 2], body[ANSWER_BYTES / 2];
    for (size_t i = 0; i < PIECE_COUNT; i++) {
        snprintf(event, sizeof event, DELTA("\"content\":\"%s@aaaaaaaaaaaaaaaa\"", "null"), PIECES[i]);
        frame_event(&content_frames[i], event);
    }
    frame_event(&role_frame, DELTA("\"role\":\"assistant\",\"content\":\"\"", "null"));
    frame_event(&finish_frame, DELTA("\"content\":\"\"", "\"stop\",\"stop_reason\":null"));
    frame_event(&done_frame, "data: [DONE]\n\n");
    end_frame.size = (size_t)snprintf(end_frame.bytes, FRAME_BYTES, "0\r\n\r\n");
    snprintf(body, sizeof body,
             "{\"id\":\"chatcmpl-9b2f6c1d8e7a4f35b0c2d4e6f8a1b3c5\",\"object\":\"chat.completion\","
             "\"created\":1764000000,\"model\":\"qwen\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\","
             "\"content\":\"%s\",\"tool_calls\":[]},\"logprobs\":null,\"finish_reason\":\"stop\"}]," USAGE "}}",
             ANSWER, 540L, 128L);
    snprintf(whole_answer, sizeof whole_answer, WHOLE_HEAD "%s", strlen(body), body);
    snprintf(body, sizeof body,
             "{\"object\":\"list\",\"data\":[{\"id\":\"qwen\",\"object\":\"model\",\"created\":1764000000,"
             "\"owned_by\":\"vllm\",\"root\":\"qwen\",\"parent\":null,\"max_model_len\":32768}]}");
    snprintf(models_answer, sizeof models_answer, WHOLE_HEAD "%s", strlen(body), body);
}

#endif
